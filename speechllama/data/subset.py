"""A smaller data directory: utterances at even distances -> the same tables, with arrays where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

from speechllama.data.data_dir import read_data_dir, write_data_dir
from speechllama.data.durations_check import spread
from speechllama.faults import InputError

RECORDS = ("*.json", "*.1.done")  # which say what made the arrays


def take_subset(data_dir: str | Path, output_dir: str | Path, number: int) -> tuple[int, int]:
    """Write a part of a data directory, the same one for the same directory.

    Args:
        data_dir: A data directory, of features or compressed features as well.
        output_dir: Gets the smaller one.
        number: Utterances to take; all where there are no more.

    Returns:
        How many were taken, and of how many.

    Raises:
        ValueError: The number is below 1.
    """
    if number < 1:
        raise InputError(f"--number {number}: expected at least 1")
    data = read_data_dir(data_dir)
    taken = spread(data.utterances, number)
    write_data_dir(data.subset(taken), output_dir)
    copy_records(data_dir, output_dir)
    return len(taken), len(data.utterances)


def copy_records(data_dir: str | Path, output_dir: str | Path) -> None:
    """Copy what says how the arrays of a data directory were made to a smaller one with the same arrays."""
    for pattern in RECORDS:
        for record in Path(data_dir).glob(pattern):
            if record.name != "report.json":  # of CTC over the whole set
                shutil.copy(record, output_dir)
