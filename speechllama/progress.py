"""Progress of long work: a bar on a terminal, lines with rate and time left in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
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


def progress(items: Iterable[Item], total: int | None, name: str) -> Iterator[Item]:
    """Pass items on and show how far the work is.

    Args:
        items: What is worked on.
        total: Number of items, if known.
        name: What they are, in the plural ("clips").

    Yields:
        The items.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, unit=f" {name}", dynamic_ncols=True)
        return
    start = shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= LOG_INTERVAL_SECONDS:
            shown = now
            rate = count / (now - start)
            left = f", {(total - count) / rate:.0f} s left" if total else ""
            logging.info("%d of %s %s, %.1f a second%s", count, total or "?", name, rate, left)
