"""Folders that appear under their name only when they are whole: path -> folder to write into."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from speechllama.faults import InputError


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Make a directory that appears under its name only when it is whole.

    Raises:
        ValueError: There is something under that name.
    """
    place = Path(path)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{place}: exists and is not empty; give another directory, or remove it")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        partial = Path(scratch) / place.name
        partial.mkdir()
        yield partial
        if place.is_dir():
            place.rmdir()
        partial.rename(place)
