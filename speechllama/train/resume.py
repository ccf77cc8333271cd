"""Stop a training inside an epoch and resume it there, as if it had never stopped.

    SIGTERM, SIGUSR1 or a stop file -> interrupted.pth -> the next batch, with the same random numbers

ESPnet saves only at the end of an epoch, which at the paper's scale is hours away. This module saves the rest: the
weights, optimizers and schedulers between two updates, how many batches of the epoch are done, the statistics of these
batches, and every process's random numbers.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from speechllama.faults import InputError
from speechllama.train.outcome import check_finite, check_update_size
from speechllama.train.stop import CONTINUE, EXIT_STATUS, SIGNALS, STOP, StopRequest


def rank() -> int:
    """This process's number in data-parallel training."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def num_processes() -> int:
    """Processes that share the batches."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def random_state() -> dict[str, Any]:
    """Where all generators of random numbers are."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": np.random.get_state(), "python": random.getstate()}


def set_random_state(state: dict[str, Any]) -> None:
    """Put all generators where they were."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


def loader_from(loader: Iterable[Any], num_skipped: int) -> Iterable[Any]:
    """The same loader without its first batches, whose workers leave our signals to the main process."""
    if not isinstance(loader, DataLoader):
        raise InputError(f"iterator_type must be sequence; {type(loader).__name__} cannot be resumed inside an epoch")
    return DataLoader(
        dataset=loader.dataset,
        batch_sampler=list(loader.batch_sampler or [])[num_skipped:],
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=WorkerInit(loader.worker_init_fn),
    )


class WorkerInit:
    """Initialise a worker of a loader as ESPnet does, and ignore signals that are meant for the training."""

    def __init__(self, first: Any) -> None:
        self.first = first

    def __call__(self, worker: int) -> None:
        """Prepare worker number `worker`, in its own process."""
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


INTERRUPTED = "interrupted.pth"


@dataclass
class Training:
    """What an update changes.

    Attributes:
        model: The model itself, without a wrapper of data-parallel training.
        optimizers: Its optimizers.
        schedulers: One an optimizer, or None.
        scaler: Of mixed precision, or None.
        reporter: ESPnet's statistics of this epoch's training.
    """

    model: torch.nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    schedulers: Sequence[Any]
    scaler: Any
    reporter: Any

    def state(self) -> dict[str, Any]:
        """Everything, as torch.save likes it."""
        return {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [None if scheduler is None else scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "stats": {name: pack_stats(values) for name, values in self.reporter.stats.items()},
            "count": self.reporter.count,
            "total_count": self.reporter.total_count,
            "seconds": time.perf_counter() - self.reporter.start_time,
        }

    def load(self, state: dict[str, Any], weighted: type, plain: type) -> None:
        """Take over what `state` gave; `weighted` and `plain` are ESPnet's classes of a reported value."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(saved)
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])
        for name, (values, weights) in state["stats"].items():
            pairs = zip(values.tolist(), weights.tolist(), strict=True) if weights is not None else None
            self.reporter.stats[name] = (
                [plain(value) for value in values.tolist()] if pairs is None else [weighted(*pair) for pair in pairs]
            )
        self.reporter.count, self.reporter.total_count = state["count"], state["total_count"]
        self.reporter.start_time = time.perf_counter() - state["seconds"]


def pack_stats(values: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """ESPnet's reported values as two tensors; a hundred thousand small objects would take seconds to pickle."""
    numbers = torch.tensor([float(entry.value) for entry in values], dtype=torch.float64)
    if not hasattr(values[0], "weight"):
        return numbers, None
    return numbers, torch.tensor([float(entry.weight) for entry in values], dtype=torch.float64)


@dataclass
class EpochInFlight:
    """The epoch that is being trained: saved between two updates, and restored.

    Attributes:
        folder: The experiment.
        epoch: Its number, from 1.
        training: What is saved.
        request: When to save and when to stop.
        accum_grad: Batches an update; between them there is nothing whole to save.
        device: Of the tensors that the processes exchange.
        is_first: Whether the run begins with it. A later one follows a checkpoint that this run wrote.
        num_done: Batches that this process has done.
        random_state: Where the random numbers resume after an interruption.
    """

    folder: Path
    epoch: int
    training: Training
    request: StopRequest
    accum_grad: int
    device: str
    is_first: bool
    num_done: int = 0
    random_state: dict[str, Any] | None = None
    num_saved: int = 0
    loader: Iterable[Any] = field(default_factory=list)

    def restore(self, loader: Iterable[Any], weighted: type, plain: type) -> int:
        """Resume from interrupted.pth, if it is of this epoch, these batches and as many processes.

        Returns:
            Number of batches that are done.
        """
        self.loader = loader
        path = self.folder / INTERRUPTED
        if not self.is_first and rank() == 0:
            path.unlink(missing_ok=True)  # the epoch it is of has ended, and its checkpoint is written
        if not self.is_first or not path.is_file():
            return 0
        try:
            state = torch.load(path, map_location="cpu", weights_only=False)
            reason = self.why_unusable(state)
        except Exception as error:  # a truncated zip fails in many ways
            reason = f"it cannot be read ({error})"
        if reason:
            logging.warning("%s cannot be used: %s; epoch %d starts again", path, reason, self.epoch)
            return 0
        self.training.load(state["training"], weighted, plain)
        self.num_done = self.num_saved = state["num_done"]
        self.random_state = state["processes"][rank()]["random"]
        logging.warning("resuming epoch %d after %d batches (%s)", self.epoch, self.num_done, path)
        return self.num_done

    def why_unusable(self, state: dict[str, Any]) -> str:
        """Why a saved state is not of this epoch; "" if it is."""
        if state["epoch"] != self.epoch:
            return f"it is of epoch {state['epoch']}"
        if len(state["processes"]) != num_processes():
            return f"{len(state['processes'])} processes wrote it, this run has {num_processes()}"
        if state["processes"][rank()]["batches"] != digest(self.loader):
            return "its batches differ"
        return ""

    def batches(self) -> Batches:
        """The epoch's remaining batches; between them the training checks whether to stop."""
        return Batches(self, self.num_done, counted=True)

    def validation(self, loader: Iterable[Any]) -> Batches:
        """Batches of the validation after the epoch; it can be stopped, too, and the epoch's training is kept."""
        return Batches(self, 0, counted=False, loader=loader)

    def save_or_stop(self) -> None:
        """Save and stop if any process was asked to, or save if it is time; every process comes here equally often.

        Raises:
            SystemExit: All is saved; with status 75.
        """
        if self.num_done % self.accum_grad and self.num_done != length(self.loader):
            return
        request = self.request.poll(rank() == 0)
        if num_processes() > 1:
            requests = torch.tensor(request, device=self.device)
            torch.distributed.all_reduce(requests, torch.distributed.ReduceOp.MAX)
            request = int(requests)
        if request == CONTINUE:
            return
        if self.num_done != self.num_saved:
            self.save()
        self.request.saved_at = time.monotonic()
        if request == STOP:
            logging.warning("asked to stop: epoch %d is kept up to batch %d%s; the same command resumes there",
                            self.epoch, self.num_saved, self.describe_unsaved())  # fmt: skip
            raise SystemExit(EXIT_STATUS)

    def describe_unsaved(self) -> str:
        """Say what a failed save loses; "" if nothing."""
        if self.num_saved == self.num_done:
            return ""
        return f", and {self.num_done - self.num_saved} batches after it are lost: they could not be saved"

    def save(self) -> None:
        """Write interrupted.pth atomically; if it cannot be written, what was saved before is kept."""
        mine = {"random": random_state(), "batches": digest(self.loader)}
        processes = [mine]
        if num_processes() > 1:
            processes = [{} for _ in range(num_processes())]
            torch.distributed.all_gather_object(processes, mine)
        is_saved = torch.ones(1, device=self.device)
        if rank() == 0:
            state = {"epoch": self.epoch, "num_done": self.num_done, "processes": processes}
            partial = self.folder / f"{INTERRUPTED}.tmp"
            try:
                torch.save({**state, "training": self.training.state()}, partial)
                os.replace(partial, self.folder / INTERRUPTED)
            except (OSError, RuntimeError) as error:  # a full disk
                logging.error("%s cannot be written (%s)", partial, error)
                partial.unlink(missing_ok=True)
                is_saved.zero_()
        if num_processes() > 1:
            torch.distributed.broadcast(is_saved, 0)  # no process leaves while the first one still writes
        if is_saved:
            self.num_saved = self.num_done


class Batches:
    """Batches of a loader from a given one on, for ESPnet's loop.

    Args:
        epoch: Whose `save_or_stop` is called before each batch and after the last.
        num_skipped: Batches to leave out; they are not even loaded.
        counted: Whether these are the epoch's own batches.
        loader: Another loader than the epoch's.
    """

    def __init__(
        self, epoch: EpochInFlight, num_skipped: int, counted: bool, loader: Iterable[Any] | None = None
    ) -> None:
        self.epoch, self.num_skipped, self.counted = epoch, num_skipped, counted
        self.loader = epoch.loader if loader is None else loader

    def __len__(self) -> int:
        return length(self.loader)

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(loader_from(self.loader, self.num_skipped))
        if self.counted:
            check_update_size(len(self), self.epoch.accum_grad, str(self.epoch.folder))
        if self.counted and self.epoch.random_state is not None:
            set_random_state(self.epoch.random_state)  # after iter(), which draws the workers' seed
        while True:
            self.epoch.save_or_stop()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            check_finite(*batch)
            yield batch
            self.epoch.num_done += self.counted
