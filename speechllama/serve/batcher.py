"""Dynamic batching: pieces of requests that arrive together are decoded as one batch, in one thread.

jobs, each with its pieces -> batches, a piece of each job in turn -> a result of each piece -> futures

A long file gives one piece when its turn comes, so short ones do not wait until it is done. If it is the only one, it
fills the batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Piece = TypeVar("Piece")
Piece_co = TypeVar("Piece_co", covariant=True)
Result = TypeVar("Result")


class Source(Protocol[Piece_co]):
    """What a job decodes; the batcher's thread reads it, piece by piece."""

    def __iter__(self) -> Iterator[Piece_co]:
        """Read the pieces in their order; what it raises ends the job."""

    def close(self) -> None:
        """Give back what it holds; called once, when all is read or the job has ended otherwise."""


class Job(Generic[Piece, Result]):
    """A recording in work.

    Args:
        source: Its pieces.

    Attributes:
        future: Becomes the results in the order of the pieces, or an error. Cancelling it drops the job.
        is_read: Whether no piece is left to read.
    """

    def __init__(self, source: Source[Piece]) -> None:
        self.future: Future[list[Result]] = Future()
        self.source = source
        self.is_read = False
        self._pieces: Iterator[Piece] | None = None
        self._ahead: list[Piece] = []  # the next piece, read before it is needed: without it, was that the last one?
        self._results: dict[int, Result] = {}
        self._num_taken = 0

    def take(self) -> Item[Piece, Result] | None:
        """Read the next piece; None if there is none."""
        if self._pieces is None:
            self._pieces = iter(self.source)
            self._read_ahead()
        if not self._ahead:
            self._finish_if_complete()
            return None
        self._num_taken += 1
        item = Item(self, self._num_taken - 1, self._ahead.pop())
        self._read_ahead()
        return item

    def put(self, index: int, result: Result) -> None:
        """Take in the result of a piece; the last one ends the job."""
        self._results[index] = result
        self._finish_if_complete()

    def fail(self, error: Exception) -> None:
        """End with an error."""
        if self._may_end():
            self.future.set_exception(error)

    def _read_ahead(self) -> None:
        assert self._pieces is not None
        for piece in self._pieces:
            self._ahead.append(piece)
            return
        self.is_read = True

    def _finish_if_complete(self) -> None:
        if self.is_read and len(self._results) == self._num_taken and self._may_end():
            self.future.set_result([self._results[index] for index in range(self._num_taken)])

    def _may_end(self) -> bool:
        """Whether it has not ended, and from now on cannot be dropped."""
        return not self.future.done() and self.future.set_running_or_notify_cancel()


@dataclass(frozen=True)
class Item(Generic[Piece, Result]):
    """A piece in a batch, its job, and its place among the job's pieces."""

    job: Job[Piece, Result]
    index: int
    piece: Piece


class Batcher(Generic[Piece, Result]):
    """Decodes pieces of all jobs in batches.

    Args:
        decode: Gives a result for each piece of a batch; called in one thread only. If it raises, the pieces are
            decoded one by one, so that only the job that is to blame fails.
        batch_size: Most pieces of a batch.
        max_wait: Seconds that a batch that is not full waits for further jobs.
        is_fatal: Whether after an error of `decode` nothing can be decoded any more; None: it always can.

    Attributes:
        failure: The fatal error, with which all jobs have ended; None as long as there is none.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[Piece]], Sequence[Result]],
        batch_size: int,
        max_wait: float,
        is_fatal: Callable[[Exception], bool] | None = None,
    ) -> None:
        self._decode, self._batch_size, self._max_wait = decode, batch_size, max_wait
        self._is_fatal = is_fatal or (lambda _error: False)
        self.failure: Exception | None = None
        self._turns: deque[Job[Piece, Result]] = deque()  # jobs with pieces left to read
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, source: Source[Piece]) -> Future[list[Result]]:
        """Queue a recording; the batcher closes it.

        Raises:
            RuntimeError: The batcher is closed, or has failed.
        """
        job: Job[Piece, Result] = Job(source)
        with self._changed:
            is_closed = self._is_closed
            if not is_closed:
                self._turns.append(job)
                self._changed.notify()
        if is_closed:
            self._close_source(job)
            raise RuntimeError("the batcher is closed")
        return job.future

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            self._decode_items(self._collect())

    def _wait_for_work(self) -> bool:
        """Sleep until there is a job; False if there will be none."""
        with self._changed:
            while not self._turns and not self._is_closed:
                self._changed.wait()
            return bool(self._turns)

    def _collect(self) -> list[Item[Piece, Result]]:
        """Read a batch, a piece of each job in turn."""
        items: list[Item[Piece, Result]] = []
        deadline = time.monotonic() + self._max_wait
        while len(items) < self._batch_size:
            job = self._next_turn(deadline)
            if job is None:
                break
            item = self._take(job)
            if item is not None:
                items.append(item)
        return items

    def _next_turn(self, deadline: float) -> Job[Piece, Result] | None:
        """Return the job whose turn it is; None if there is none until the deadline."""
        with self._changed:
            while not self._turns:
                left = deadline - time.monotonic()
                if left <= 0 or self._is_closed:
                    return None
                self._changed.wait(left)
            return self._turns.popleft()

    def _take(self, job: Job[Piece, Result]) -> Item[Piece, Result] | None:
        """Read a piece of a job, and queue the job again if it has more."""
        item = None
        if not job.future.done():
            try:
                item = job.take()
            except Exception as error:  # a file that is bad in the middle, or a fault of a library that reads it
                job.fail(error)
        if not job.is_read and not job.future.done():
            with self._changed:
                self._turns.append(job)
            return item
        self._close_source(job)
        return item

    @staticmethod
    def _close_source(job: Job[Piece, Result]) -> None:
        """Close what a job reads."""
        try:
            job.source.close()
        except Exception:
            logging.exception("a recording could not be closed")

    def _decode_items(self, items: Sequence[Item[Piece, Result]]) -> None:
        """Decode a batch; after an error that is not fatal, each piece by itself."""
        items = [item for item in items if not item.job.future.done()]  # others were dropped, or failed before
        if self.failure is not None:
            for item in items:
                item.job.fail(self.failure)
        if self.failure is not None or not items:
            return
        try:
            results = self._decode([item.piece for item in items])
        except Exception as error:
            if self._is_fatal(error):
                self._end([item.job for item in items], error)
                return
            if len(items) == 1:
                items[0].job.fail(error)
                return
            logging.warning("%d pieces failed together (%s); decoding them one by one", len(items), error)
            results = None
        if results is None:  # outside the except block: its traceback would keep the failed batch's tensors alive
            for item in items:
                self._decode_items([item])
            return
        for item, result in zip(items, results, strict=True):
            item.job.put(item.index, result)

    def _end(self, decoded: Sequence[Job[Piece, Result]], error: Exception) -> None:
        """End all jobs with a fatal error: those that were being decoded, and those that wait."""
        with self._changed:
            self.failure, self._is_closed = error, True
            waiting = list(self._turns)
            self._turns.clear()
        logging.error("nothing more can be decoded; %d recordings wait", len(waiting), exc_info=error)
        for job in waiting:
            self._close_source(job)
        for job in (*decoded, *waiting):
            job.fail(error)
