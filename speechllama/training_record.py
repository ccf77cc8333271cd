"""What a training says of itself, for the tables: time, updates, memory, hardware; and which epochs were taken.

    a training   -> <experiment>/training.json
    its average  -> <experiment>/average.json, beside model.pth
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from speechllama.files import read_json, write_json


def training_record_path(folder: str | Path) -> Path:
    """Name the record of a training."""
    return Path(folder) / "training.json"


def average_record_path(folder: str | Path) -> Path:
    """Name the record of an average of epochs."""
    return Path(folder) / "average.json"


def update_training_record(folder: str | Path, **values: Any) -> None:
    """Put values into the record; of the memory the greatest stays, since a training may have gone on in several runs.

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
