"""Benchmarks of two sides that run in turn: what else the machine does then slows both.

two calls -> Pairs of seconds -> median of the ratios, pair by pair, with the least and the most

Seconds are those of the processor, since a process that waits for its turn measures the machine's other work. With one
thread on a free machine they are those of the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Pairs(NamedTuple):
    """Seconds of two sides that ran in turn, of the processor or of the clock."""

    ours: list[float]
    other: list[float]

    def ratio(self, is_faster: bool) -> str:
        """How many times faster ours is; else which share of the other's time it takes."""
        if is_faster:
            return format_ratios(self.other, self.ours, " times faster")
        return format_ratios(self.ours, self.other, " of the time")


def format_ratios(ones: Sequence[float], others: Sequence[float], words: str = "") -> str:
    """The median of the ratios, pair by pair, with the least and the most."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(ratios):.2f}{words} ({min(ratios):.2f} to {max(ratios):.2f})"


def alternate(ours: Callable[[], Any], other: Callable[[], Any], repeats: int) -> Pairs:
    """Seconds of the processor of two calls taken in turn, after one uncounted call of each."""
    ours(), other()
    pairs = Pairs([], [])
    for _ in range(repeats):
        for call, spent in zip((ours, other), pairs, strict=True):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
    return pairs
