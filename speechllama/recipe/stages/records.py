"""Frozen records of stages and jobs, which are printed for utils/stages.sh to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# cpu: on CPUs. gpu: with one GPU for each job, if there are any. train: one job on all nodes and GPUs of a training.
# check: on this machine at once, also in a dry run.
JobKind = Literal["cpu", "gpu", "train", "check"]
JOB = "JOB"  # in a command and in the name of a log: the job's number
FINISHED = "FINISHED"  # in a command: the names of the stages that are finished


@dataclass(frozen=True)
class Job:
    """A command, run as parallel jobs.

    Attributes:
        kind: Where it runs, see `JobKind`.
        command: Its words.
        log: Its log; with several jobs `.JOB.` is in its name.
        number: Number of parallel jobs.
    """

    kind: JobKind
    command: tuple[str, ...]
    log: str = ""
    number: int = 1


@dataclass(frozen=True)
class Clear:
    """What is moved aside or removed before a stage starts again with other settings or inputs.

    Attributes:
        how: Move a directory aside, where it is kept, or remove files and directories.
        paths: Which.
        shared: Directory that other runs may be reading, in which case this run is refused; "" if none can.
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
        marker: File written when all is done; "" for a check, which runs before any stage that is not finished.
        settings: What its outputs depend on, besides its inputs and the names of directories.
        inputs: Files it reads; one that is newer than the marker makes it stale.
        outputs: Files it must write.
        jobs: Commands, one after the other.
        skip: Why there is nothing to do; "" if there is.
        clears: What is left of other settings or inputs.
        shows: Reports that are printed when it is done, if they exist.
        replan: Whether the plan of later stages depends on which files it has written.
        early: Whether it may start before its turn, next to other stages, once its inputs are there (utils/early.sh).
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
    replan: bool = False
    early: bool = False


def module(name: str, *options: object) -> tuple[str, ...]:
    """Return the command of an entry point."""
    words = [str(word).lower() if isinstance(word, bool) else str(word) for word in options]
    return ("python3", "-m", f"speechllama.bin.{name}", *words)


def tables(folders: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of some tables in several directories."""
    return tuple(f"{folder}/{name}" for folder in folders for name in names)
