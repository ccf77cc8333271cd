"""Format a long list of faults: a count and the first ten."""

from __future__ import annotations

from collections.abc import Sequence

NUM_SHOWN = 10


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
        raise ValueError(faults[0])
    if faults:
        raise ValueError(f"{len(faults):,} faults of the {what}:{first_ten(faults)}")
