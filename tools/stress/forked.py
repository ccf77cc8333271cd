"""Run an entry point in a forked process, as its command would run, and say how it ended.

Call(name, words) -> Ended("done" | "refused" | "fault" | "hang", what it printed)

A fork has all imports already, so a call costs what it computes; a crash of a library ends only the fork.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

How = Literal["done", "refused", "fault", "hang"]
ENTRY_POINTS = "speechllama.bin"
MEMORY_BYTES = 8 << 30  # a number that a damaged file holds must not take the machine's memory
POLL_SECONDS = 0.005
# What the entry points import on use: once here, or every fork would.
PRELOADED = (
    *("speechllama.train.ctc", "speechllama.train.speech_llama", "speechllama.train.average"),
    *("speechllama.decode.speech2text", "speechllama.decode.decode_set", "speechllama.compress.cache"),
    *("speechllama.rescore.rescoring", "speechllama.report.score", "speechllama.data.features", "sacrebleu", "peft"),
    *("transformers.models.llama.modeling_llama", "transformers.models.auto.tokenization_auto"),
)


@dataclass(frozen=True)
class Call:
    """A command.

    Attributes:
        name: The entry point, such as "decode".
        words: Its arguments.
    """

    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(("python3 -m", f"{ENTRY_POINTS}.{self.name}", *self.words))


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        how: done (exit status 0), refused (a message, another exit status), fault (a traceback or a crash) or hang.
        text: All that it printed.
        seconds: How long it took.
    """

    how: How
    text: str
    seconds: float = 0.0

    @property
    def message(self) -> str:
        """What it says at the end: from its last ERROR or FAULT on, or all where there is none."""
        start = max(self.text.rfind("ERROR: "), self.text.rfind("FAULT: "))
        return self.text[max(start, 0) :].strip()


def preload() -> None:
    """Import what the entry points import on use."""
    for name in PRELOADED:
        importlib.import_module(name)


def run_call(call: Call, folder: Path, limit: float) -> Ended:
    """Run a command in a process of its own.

    Args:
        call: The command.
        folder: The directory that it runs in.
        limit: Seconds after which it is killed and counts as a hang.
    """
    return run_forked(
        lambda: importlib.import_module(f"{ENTRY_POINTS}.{call.name}").main(list(call.words)), folder, limit
    )


def run_forked(main: Callable[[], Any], folder: Path, limit: float) -> Ended:
    """Run a function as `run_main` does, in a process of its own; see `run_call`."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _run_child(main, folder, log.fileno())
        status = _wait(pid, start + limit)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it has started: a loader's workers would hold its locks for seconds
        log.seek(0)
        text = log.read().decode(errors="replace")
    seconds = time.monotonic() - start
    if status is None:
        return Ended("hang", f"{text}\nnot finished after {limit:.0f} s", seconds)
    if os.WIFSIGNALED(status):
        return Ended("fault", f"{text}\nFAULT: killed by signal {signal.Signals(os.WTERMSIG(status)).name}", seconds)
    if os.WEXITSTATUS(status) == 0:
        return Ended("done", text, seconds)
    is_fault = "Traceback (most recent call last)" in text or "FAULT: " in text
    return Ended("fault" if is_fault else "refused", text, seconds)


def _run_child(main: Callable[[], Any], folder: Path, log: int) -> None:
    """Be the child; never returns."""
    status = 1
    try:
        os.setsid()
        faulthandler.disable()  # the tests' own, which would print a crash that is meant
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)
        logging.root.handlers.clear()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # whose threads a fork does not have
        os.chdir(folder)
        import torch

        from speechllama.cli import run_main

        torch.set_num_threads(1)
        run_main(main)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        os.write(2, f"FAULT: {type(error).__name__}: {error}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, end: float) -> int | None:
    """Wait for a child; its status, or None where it had to be killed."""
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(POLL_SECONDS)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def run_chain(calls: Sequence[Call], folder: Path, limit: float) -> tuple[Call | None, Ended]:
    """Run commands one after the other, up to the first that does not end well.

    Returns:
        That one, or the last; and how it ended, with the output of all.
    """
    texts: list[str] = []
    last: Call | None = None
    ended = Ended("done", "")
    for last in calls:
        ended = run_call(last, folder, limit)
        texts.append(ended.text)
        if ended.how != "done":
            break
    return last, Ended(ended.how, "".join(texts), ended.seconds)
