"""Frozen records of stages and jobs, which are printed for utils/stages.sh to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# cpu: on CPUs. gpu: with a GPU for each job, where there are any. train: one job on all nodes and GPUs of a training.
# check: here and now, also in a dry run.
JobKind = Literal["cpu", "gpu", "train", "check"]
JOB = "JOB"  # in a command and in the name of a log: the job's number
FINISHED = "FINISHED"  # in a command: the names of the stages that are finished


@dataclass(frozen=True)
class Job:
    """A command, run as parallel jobs.

    Attributes:
        kind: What it needs of the machine.
        command: Its words.
        log: Its log; with several jobs `.JOB.` is in its name.
        number: Parallel jobs.
    """

    kind: JobKind
    command: tuple[str, ...]
    log: str = ""
    number: int = 1


@dataclass(frozen=True)
class Clear:
    """What is taken away before a stage begins again with other settings or inputs.

    Attributes:
        how: Move a directory aside, where it is kept, or remove files and directories.
        paths: Which.
        shared: Directory that other runs may read just now, which is refused then; "" where only this run does.
    """

    how: Literal["move_aside", "remove"]
    paths: tuple[str, ...]
    shared: str = ""


@dataclass(frozen=True)
class Stage:
    """A stage, or a part of one with a marker of its own (a set that is decoded).

    Attributes:
        name: Its name; parts of a stage share it.
        title: What it makes, and where.
        marker: File written when all is done; "" for a check, which is done whenever work is ahead.
        settings: What its outputs depend on besides inputs and the names of directories.
        inputs: Files it reads; one that is newer than the marker makes it stale.
        outputs: Files it must leave.
        jobs: Commands, one after the other.
        skip: Why there is nothing to do; "" if there is.
        clears: What other settings had made.
        shows: Reports shown when it is done, as far as they are there.
    """

    name: str
    title: str = ""
    marker: str = ""
    settings: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()
    skip: str = ""
    clears: tuple[Clear, ...] = ()
    shows: tuple[str, ...] = ()


def module(name: str, *options: object) -> tuple[str, ...]:
    """The command of one of our entry points."""
    words = [str(word).lower() if isinstance(word, bool) else str(word) for word in options]
    return ("python3", "-m", f"speechllama.bin.{name}", *words)


def tables(folders: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Every table of every directory."""
    return tuple(f"{folder}/{name}" for folder in folders for name in names)
