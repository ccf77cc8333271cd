"""Progress of long work: a bar on a terminal, lines with rate and time left in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LOG_INTERVAL_SECONDS = 10.0


def setup_logging(level: int = logging.INFO) -> None:
    """Send log lines with time and file to stderr; called by entry points only."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )


def progress(
    items: Iterable[Item], total: float | None, name: str, amount: Callable[[Item], float] = lambda _: 1
) -> Iterator[Item]:
    """Pass items on and show how far the work is.

    Args:
        items: What is worked on.
        total: Amount of all items, if known; by default their number.
        name: What is counted, in the plural ("clips").
        amount: How much of `total` an item is.

    Yields:
        The items.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, unit=f" {name}", dynamic_ncols=True) as bar:
            for item in items:
                yield item
                bar.update(amount(item))
        return
    start = shown = time.monotonic()
    done = 0.0
    for item in items:
        yield item
        done += amount(item)
        now = time.monotonic()
        if now - shown >= LOG_INTERVAL_SECONDS:
            shown = now
            rate = done / (now - start)
            left = f", {max(0.0, total - done) / rate:.0f} s left" if total and rate else ""
            whole = f"{total:.0f}" if total else "?"
            logging.info("%d of %s %s, %.1f a second%s", done, whole, name, rate, left)


def print_result(text: str) -> None:
    """Print results to stdout while a bar may be on the terminal."""
    tqdm.write(text, file=sys.stdout, end="")
    sys.stdout.flush()
