"""Lists of what is wrong, made short enough to read: a count and the first ten."""

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
