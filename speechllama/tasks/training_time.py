"""How long a training took and how many updates it made, from what its checkpoint keeps of every epoch.

    checkpoint.pth -> training.json

The checkpoint is written with the epoch it is of, and a stop inside an epoch keeps that epoch's seconds and batches: so
the sums hold what made the weights, each part once, however often the training was stopped, killed and resumed.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechllama.model.peak_memory import PeakMemory
from speechllama.training_record import describe_cpu, update_training_record


def sum_epochs(stats: Mapping[int, Mapping[str, Mapping[str, Any]]], accum_grad: int) -> tuple[float, int]:
    """Add up the epochs of a training.

    Args:
        stats: The host's statistics by epoch and phase ("train", "valid").
        accum_grad: Batches an update; those at an epoch's end that fill none are left out by the host.

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


def to_seconds(value: Any) -> float:
    """Seconds of the host's durations, which each of its releases saves in its own way."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        (value,) = value.values()
    return float(value)


def record_peak(folder: Path, memory: PeakMemory) -> None:
    """Note the memory so far, so that a kill does not lose it."""
    update_training_record(folder, peak_gb=round(memory.highest() / 1e9, 3), peak_of=memory.what)


def record_training(folder: Path, stats: Mapping[int, Any], accum_grad: int, memory: PeakMemory) -> None:
    """Write training.json.

    Args:
        folder: The experiment.
        stats: What its checkpoint holds of every epoch.
        accum_grad: Batches an update.
        memory: Of this process, which is the first of several.
    """
    seconds, num_updates = sum_epochs(stats, accum_grad)
    is_shared = torch.distributed.is_initialized()
    update_training_record(
        folder,
        seconds=round(seconds, 3),
        num_updates=num_updates,
        num_epochs=len(stats),
        peak_gb=round(memory.highest() / 1e9, 3),
        peak_of=memory.what,
        **describe_machine(memory, torch.distributed.get_world_size() if is_shared else 1),
    )


def describe_machine(memory: PeakMemory, num_processes: int = 1) -> dict[str, Any]:
    """Hardware, threads and processes, as training.json says them."""
    hardware = memory.what if memory.is_gpu else describe_cpu()
    return {"hardware": hardware, "num_threads": torch.get_num_threads(), "num_processes": num_processes}
