"""Average the best epochs of an experiment.

exp/<name>/{checkpoint,<n>epoch}.pth -> model.pth, there or in another folder
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from speechllama.faults import InputError, MissingFileError
from speechllama.files import write_json, writing
from speechllama.model.build import MODEL_FILE
from speechllama.model.weights import read_weight_file
from speechllama.training_record import CHECKPOINT, Statistics, average_record_path, read_statistics


def average_checkpoints(
    exp_dir: str | Path,
    num_best: int = 3,
    criterion: str = "valid.loss.min",
    output_dir: str | Path | None = None,
) -> list[int]:
    """Write the mean of the best epochs' weights.

    ESPnet's own average is silently the single best epoch if fewer than asked for are left; this one says what
    it took.

    Args:
        exp_dir: A finished experiment of ESPnet's trainer.
        num_best: Epochs to average; fewer if training kept fewer.
        criterion: phase.statistic.min or .max that ranks them.
        output_dir: Where model.pth goes; None: the experiment.

    Returns:
        The epochs averaged, best first.

    Raises:
        FileNotFoundError: The experiment has no checkpoint, or no epoch file is left.
        ValueError: The criterion is not one that training recorded, no epoch is wanted, all of them diverged, or the
            checkpoint is damaged or might run code.
    """
    folder = Path(exp_dir)
    if num_best < 1:
        raise InputError(f"num_best {num_best} must be at least 1")
    if not (folder / CHECKPOINT).is_file():
        raise MissingFileError(f"{folder / CHECKPOINT}: no trained experiment there; run its training stage")
    stats = read_statistics(folder)
    epochs = [epoch for epoch in rank_epochs(stats, criterion) if (folder / f"{epoch}epoch.pth").is_file()]
    chosen = epochs[:num_best]
    diverged = [epoch for epoch in sorted(stats) if (folder / f"{epoch}epoch.pth").is_file() and not chosen]
    if diverged:
        raise InputError(
            f"{folder}: {criterion.rpartition('.')[0]} is not finite in any epoch that is left ({diverged}): the "
            "training diverged, or its validation set holds NaN; see train.log, and train again"
        )
    if not chosen:
        raise MissingFileError(f"{folder}: no <n>epoch.pth of a recorded epoch is left; train again")
    if len(chosen) < num_best:
        logging.warning("%s: averaging %d epochs, %d were wanted", folder, len(chosen), num_best)
    total: dict[str, Tensor] = {}
    for epoch in chosen:
        state = read_weight_file(folder / f"{epoch}epoch.pth")
        total = {name: tensor.double() + total.get(name, 0.0) for name, tensor in state.items()}
    mean = {name: (total[name] / len(chosen)).to(tensor.dtype) for name, tensor in state.items()}
    path = Path(output_dir or folder) / MODEL_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{MODEL_FILE}.tmp")
    with writing(path):
        torch.save(mean, partial)
    os.replace(partial, path)
    record = {"num_best": num_best, "criterion": criterion, "epochs": chosen, "of": str(folder)}
    write_json(average_record_path(path.parent), record)
    logging.info("%s: mean of the epochs %s of %s by %s", path, chosen, folder, criterion)
    return chosen


def rank_epochs(stats: Statistics, criterion: str) -> list[int]:
    """Epochs by a recorded statistic, best first; an epoch that diverged (NaN, infinite) is left out.

    Raises:
        ValueError: The criterion is not phase.statistic.min or .max, or was not recorded.
    """
    phase, _, rest = criterion.partition(".")
    name, _, mode = rest.partition(".")
    values = {epoch: phases[phase][name] for epoch, phases in stats.items() if name in phases.get(phase, {})}
    if mode not in ("min", "max") or not values:
        known = sorted({f"{phase}.{name}" for phases in stats.values() for phase in phases for name in phases[phase]})
        raise InputError(f"criterion {criterion!r}: expected phase.statistic.min or .max with one of {known}")
    finite = [epoch for epoch in values if math.isfinite(values[epoch])]
    return sorted(finite, key=lambda epoch: float(values[epoch]), reverse=mode == "max")
