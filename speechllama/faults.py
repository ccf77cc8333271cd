"""Faults that a user can repair: their exceptions, and a long list as a count and the first ten.

An exception of ours says where, what was found, what was expected and what to do; `run_main` prints it by itself. Any
other one is a fault of the program or of a library, and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

NUM_SHOWN = 10


class InputError(ValueError):
    """A setting, a file or data that the user can repair."""


class MissingFileError(FileNotFoundError):
    """A file that should be there, and which stage or option puts it there."""


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
