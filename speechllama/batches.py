"""Batches of items that are padded to the longest.

items in order, their lengths, a limit -> batches of neighbours
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def padded_batches(items: Iterable[Item], length: Callable[[Item], float], limit: float) -> Iterator[list[Item]]:
    """Group neighbours, so that a batch is at most as long as the limit, with the padding; one item may be longer.

    Sorted items need the least padding.

    Args:
        items: In the order of the batches.
        length: Of an item, in the limit's unit.
        limit: Most of the number of items in a batch times the longest of them.
    """
    batch: list[Item] = []
    longest = 0.0
    for item in items:
        longest = max(longest, length(item))
        if batch and (len(batch) + 1) * longest > limit:
            yield batch
            batch, longest = [], length(item)
        batch.append(item)
    if batch:
        yield batch
