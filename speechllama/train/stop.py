"""Stop a training in time, and lock its directory against a second one.

SIGTERM, SIGUSR1, a stop file, the clock -> CONTINUE, SAVE or STOP
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechllama.faults import InputError

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: not finished, try again
STOP_FILE = "SPEECHLLAMA_STOP_FILE"  # the variable names a file; once it exists, training saves and stops
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
CONTINUE, SAVE, STOP = range(3)
POLL_SECONDS = 1.0  # between two checks for the stop file, which may be on a slow shared disk
LOCK = ".training.lock"


class StopRequest:
    """Whether this process was asked to stop, or it is time to save."""

    def __init__(self, save_minutes: float) -> None:
        self.save_seconds = save_minutes * 60
        self.saved_at = self.polled_at = time.monotonic()
        self.is_asked = False
        self.stop_file = os.environ.get(STOP_FILE, "")

    def ask(self, number: int, _: object) -> None:
        """Note a signal; the running update ends first."""
        self.is_asked = True

    def poll(self, is_first: bool) -> int:
        """Return CONTINUE, SAVE or STOP; only the first process watches the clock and the stop file."""
        now = time.monotonic()
        if is_first and self.stop_file and now - self.polled_at > POLL_SECONDS:
            self.polled_at = now
            self.is_asked = self.is_asked or os.path.exists(self.stop_file)
        if self.is_asked:
            return STOP
        is_due = is_first and self.save_seconds > 0 and now - self.saved_at > self.save_seconds
        return SAVE if is_due else CONTINUE

    def __enter__(self) -> StopRequest:
        self.handlers = {number: signal.signal(number, self.ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


@contextmanager
def only_training(folder: str | Path) -> Iterator[None]:
    """Hold an experiment's lock, which the first process of a training keeps until it ends, however it ends.

    Args:
        folder: The experiment; it is made if absent.

    Raises:
        ValueError: Another training holds it; the message says which.
    """
    path = Path(folder) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("RANK", "0")) != 0:  # torchrun's other processes belong to the first
        yield
        return
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise InputError(
                f"{folder}: another training writes here ({stream.read().strip() or 'unknown'}); wait for it, end it, "
                "or give this one a directory of its own (--tag of the recipe)"
            ) from error
        except OSError as error:
            logging.warning("%s: this file system has no locks (%s); let no other training write here", path, error)
        stream.truncate(0)
        stream.write(f"host {socket.gethostname()}, process {os.getpid()}, since {time.strftime('%F %T')}\n")
        stream.flush()
        yield
