"""What a training records about itself for the tables, and which epochs were averaged.

    a training   -> <experiment>/training.json: seconds, updates, memory, and the values of each epoch
    its average  -> <experiment>/average.json, next to model.pth

The checkpoint is written with the epoch it is of, and a stop inside an epoch keeps that epoch's seconds and batches: so
the sums hold what made the weights, each part once, however often the training was stopped, killed and resumed.
"""

from __future__ import annotations

import datetime
import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechllama.faults import InputError
from speechllama.files import read_json, write_json

if TYPE_CHECKING:
    from speechllama.peak_memory import PeakMemory

Epochs = dict[int, dict[str, dict[str, float]]]  # epoch -> "train", "valid" -> values
Statistics = Mapping[int, Mapping[str, Mapping[str, Any]]]  # ESPnet's, in the same way, with many more values
VALUES = {"loss": "loss", "acc": "accuracy", "optim0_lr0": "learning_rate"}  # ESPnet's name -> ours
CHECKPOINT = "checkpoint.pth"  # ESPnet's, with the values of every epoch so far


def training_record_path(folder: str | Path) -> Path:
    """Name the record of a training."""
    return Path(folder) / "training.json"


def average_record_path(folder: str | Path) -> Path:
    """Name the record of an average of epochs."""
    return Path(folder) / "average.json"


def update_training_record(folder: str | Path, **values: Any) -> None:
    """Put values into the record; of the memory the greatest stays, since a training may span several runs.

    Args:
        folder: The experiment.
        values: `seconds` (all runs together), `num_updates`, `peak_gb`, `peak_of`, and further facts.
    """
    path = training_record_path(folder)
    before = read_json(path) if path.is_file() else {}
    if before.get("peak_gb", 0.0) > values.get("peak_gb", 0.0):
        values = {**values, "peak_gb": before["peak_gb"], "peak_of": before["peak_of"]}
    write_json(path, {**before, **values})


def describe_cpu() -> str:
    """The CPU's name and the number of its cores that this process may use."""
    try:
        num_cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        num_cores = os.cpu_count() or 1
    name = "CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {num_cores} cores"


def sum_epochs(stats: Statistics, accum_grad: int) -> tuple[float, int]:
    """Add up the epochs of a training.

    Args:
        stats: ESPnet's statistics by epoch and phase ("train", "valid").
        accum_grad: Batches an update; those at an epoch's end that fill none are left out by ESPnet.

    Returns:
        Seconds of all phases, and updates.
    """
    seconds, num_updates, num_batches = 0.0, 0, 0
    for epoch in sorted(stats):
        seconds += sum(to_seconds(phase["time"]) for phase in stats[epoch].values() if "time" in phase)
        total = int(stats[epoch]["train"]["total_count"])  # since the first epoch
        num_updates += (total - num_batches) // accum_grad
        num_batches = total
    return seconds, num_updates


def summarise_epochs(stats: Statistics) -> Epochs:
    """Take loss, accuracy and learning rate out of ESPnet's statistics by epoch and phase."""
    epochs: Epochs = {}
    for epoch in sorted(stats):
        phases = {phase: stats[epoch].get(phase, {}) for phase in ("train", "valid")}
        epochs[epoch] = {
            phase: {ours: float(values[name]) for name, ours in VALUES.items() if name in values}
            for phase, values in phases.items()
        }
    return epochs


def training_files(folder: str | Path) -> list[Path]:
    """Find the files that `read_epochs` reads."""
    files = (training_record_path(folder), Path(folder) / CHECKPOINT)
    return [file for file in files if file.is_file()]


def read_epochs(folder: str | Path) -> Epochs:
    """Read loss, accuracy and learning rate of each epoch of a training.

    They are in training.json once the training is at its end; before, and in experiments of older versions, in
    ESPnet's checkpoint.

    Returns:
        The values by epoch and phase; none where no epoch is finished, or it is no training of ESPnet's.

    Raises:
        ValueError: The checkpoint is truncated, or holds more than tensors and plain values.
    """
    record = training_record_path(folder)
    epochs = read_json(record).get("epochs") if record.is_file() else None
    if epochs:
        return {int(epoch): values for epoch, values in epochs.items()}
    return summarise_epochs(read_statistics(folder)) if (Path(folder) / CHECKPOINT).is_file() else {}


def read_statistics(folder: str | Path) -> Statistics:
    """Read what ESPnet's checkpoint holds of every epoch; nothing in the checkpoint of a stranger is run.

    Raises:
        ValueError: The checkpoint is truncated, or holds more than tensors and plain values.
    """
    import torch

    checkpoint = Path(folder) / CHECKPOINT
    try:  # mmap: only the statistics are read, not the weights next to them
        with torch.serialization.safe_globals(plain_values()):
            state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        found: Statistics = state["reporter"]["stats"]
        return found
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{checkpoint}: cannot be read: it is damaged, or holds more than tensors and plain values, which might "
            "run code; if it is your own, resume the training, which repairs it"
        ) from error
    except Exception as error:  # a truncated zip fails as RuntimeError, EOFError, OSError ...
        raise InputError(f"{checkpoint}: cannot be read ({error}); resume the training, which repairs it") from error


def plain_values() -> list[Any]:
    """What a checkpoint of ESPnet's holds besides tensors: numbers of numpy's and durations.

    With these, `weights_only` can read it, and nothing in the checkpoint of a stranger is run.
    """
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{package}.multiarray.scalar" for package in ("core", "_core")]  # before version 2 of numpy, since
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    return [datetime.timedelta, np.dtype, *kinds, *((scalar, name) for name in names)]


def to_seconds(value: Any) -> float:
    """Seconds of ESPnet's durations, which each of its releases saves in its own way."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        (value,) = value.values()
    return float(value)


def record_peak(folder: Path, memory: PeakMemory) -> None:
    """Note the memory so far, so that a kill does not lose it."""
    update_training_record(folder, peak_gb=round(memory.highest() / 1e9, 3), peak_of=memory.what)


def record_training(folder: Path, accum_grad: int, memory: PeakMemory) -> None:
    """Write training.json, from what the checkpoint holds of every epoch; without one there is nothing to write.

    Args:
        folder: The experiment.
        accum_grad: Batches an update.
        memory: Of this process, which is the first of several.
    """
    import torch

    if not (folder / CHECKPOINT).is_file():
        return
    try:
        stats = read_statistics(folder)
    except InputError as error:  # the training itself is done
        logging.warning("%s is not written: %s", training_record_path(folder), error)
        return
    seconds, num_updates = sum_epochs(stats, accum_grad)
    is_shared = torch.distributed.is_initialized()
    update_training_record(
        folder,
        seconds=round(seconds, 3),
        num_updates=num_updates,
        num_epochs=len(stats),
        epochs=summarise_epochs(stats),
        peak_gb=round(memory.highest() / 1e9, 3),
        peak_of=memory.what,
        **describe_machine(memory, torch.distributed.get_world_size() if is_shared else 1),
    )


def describe_machine(memory: PeakMemory, num_processes: int = 1) -> dict[str, Any]:
    """Hardware, threads and processes, as training.json says them."""
    import torch

    hardware = memory.what if memory.is_gpu else describe_cpu()
    return {"hardware": hardware, "num_threads": torch.get_num_threads(), "num_processes": num_processes}
