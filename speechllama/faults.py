"""Faults that a user can repair: their exceptions, and a long list as a count and the first ten.

An exception of ours says where, what was found, what was expected and what to do; `run_main` prints it by itself. Any
other one is a fault of the program or of a library, and keeps its traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

NUM_SHOWN = 10


class InputError(ValueError):
    """A setting, a file or data that the user can repair."""


class MissingFileError(FileNotFoundError):
    """A file that should be there, and which stage or option puts it there."""


def name_file(path: str | Path, message: str) -> str:
    """Put a file's name in front of a message, unless the message has it."""
    return message if str(path) in message else f"{path}: {message}"


@contextlib.contextmanager
def naming_file(source: object) -> Iterator[None]:
    """Let a fault in this context have the name of the file, if the source is the path of one.

    Raises:
        ValueError: The fault.
    """
    try:
        yield
    except ValueError as error:
        if isinstance(source, (str, Path)):
            raise InputError(name_file(source, str(error))) from error
        raise


def first_ten(lines: Sequence[str], limit: int = NUM_SHOWN) -> str:
    """Join the first faults, one an indented line, and count those not shown.

    Args:
        lines: All faults.
        limit: How many to show.
    """
    shown = "".join(f"\n  {line}" for line in lines[:limit])
    return shown + (f"\n  ... and {len(lines) - limit:,} more" if len(lines) > limit else "")


def raise_all(faults: Sequence[str], what: str) -> None:
    """Fail once with all faults of something, if there are any.

    Raises:
        ValueError: There are; the message counts them and shows the first ten.
    """
    faults = list(dict.fromkeys(faults))  # a missing folder is told once, not for each of 13 languages
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        raise InputError(f"{len(faults):,} faults of the {what}:{first_ten(faults)}")
