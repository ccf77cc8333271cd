"""The host's loaders of batches: how many they give, which ones, and the same from a later batch on.

    loader, num_skipped -> a loader of the batches that are left, whose workers leave our signals alone
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from speechllama.tasks.stop import SIGNALS


def loader_from(loader: Iterable[Any], num_skipped: int) -> Iterable[Any]:
    """The same loader without its first batches, whose workers leave our signals to the main process."""
    if not isinstance(loader, DataLoader):
        raise ValueError(f"iterator_type must be sequence; {type(loader).__name__} cannot be resumed inside an epoch")
    return DataLoader(
        dataset=loader.dataset,
        batch_sampler=list(loader.batch_sampler or [])[num_skipped:],
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=WorkerInit(loader.worker_init_fn),
    )


class WorkerInit:
    """Starts a worker of a loader: what the host wants of it, and no death by a signal that is for the training."""

    def __init__(self, first: Any) -> None:
        self.first = first

    def __call__(self, worker: int) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self.first is not None:
            self.first(worker)


def length(loader: Iterable[Any]) -> int:
    """Number of batches."""
    return len(loader)  # type: ignore[arg-type]


def digest(loader: Iterable[Any]) -> str:
    """A fingerprint of a loader's batches: which utterances, in which order."""
    content = hashlib.blake2b(digest_size=16)
    for batch in getattr(loader, "batch_sampler", []):
        content.update("\0".join(map(str, batch)).encode() + b"\n")
    return content.hexdigest()
