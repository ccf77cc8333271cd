"""The tiny recipe that the stress tools break: the mini recipe with settings that make every stage take seconds.

TinyRecipe(folder) -> its plan; a stage -> the commands that run.sh would run
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from speechllama.recipe.plan import Plan, make_plan  # noqa: E402
from speechllama.recipe.stages import Job, Stage  # noqa: E402
from speechllama.training_record import describe_cpu  # noqa: E402
from tools.stress.forked import Call, Ended, run_call  # noqa: E402

RECIPE = ROOT / "egs" / "mini_covost2"
SETTINGS = (
    *("--corpus_kind", "mini_covost2", "--langs", "de fr es"),
    *("--ctc_num_best", "1", "--num_best", "1", "--pack_llm", "true"),
)
# Every update is saved, so that a kill also meets the saving inside an epoch; pictures would take most of the time.
TRAINING = "--save_minutes 0.00001 --use_matplotlib false --use_tensorboard false"
OPTIONS = {
    "data_options": "--num_train 60 --num_dev 9 --num_test 9 --num_llm_text 200",
    "ctc_units": "80",
    "ctc_options": f"--max_epoch 3 {TRAINING}",
    "llm_options": "--num_steps 10",
    "train_options": f"--max_epoch 2 {TRAINING}",
    "decode_options": "--max_tokens 20",
    "beam_size": "2",
    "batch_size": "2",
    "nj": "1",
    "decode_nj": "1",
}
PLACES = {"datadir": "data", "dumpdir": "dump", "expdir": "exp", "downloads": "downloads"}
JOB_SECONDS = 300.0
FIRST, LAST = "data", "pack"


@dataclass(frozen=True)
class TinyRecipe:
    """A run of the mini recipe.

    Attributes:
        folder: Where all that it writes goes.
        places: Folders that are elsewhere, by option: {"expdir": path}.
        options: Options of run.sh that differ from `OPTIONS`.
    """

    folder: Path
    places: dict[str, Path] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    @cached_property
    def words(self) -> list[str]:
        """Options of run.sh."""
        places = {name: str(self.places.get(name, self.folder / place)) for name, place in PLACES.items()}
        return [word for name, value in {**OPTIONS, **self.options, **places}.items() for word in (f"--{name}", value)]

    @property
    def plan(self) -> Plan:
        """What run.sh plans; made anew, since it depends on which files are there."""
        with inside(RECIPE):
            return make_plan(self.words, SETTINGS)

    def stages(self) -> dict[str, list[Stage]]:
        """The stages by name, each of one or several parts."""
        stages: dict[str, list[Stage]] = {}
        with inside(RECIPE):
            for _, stage in self.plan.stages():
                stages.setdefault(stage.name, []).append(stage)
        return stages

    def commands(self, name: str) -> list[Call]:
        """The commands of a stage, in order."""
        jobs = [job for stage in self.stages()[name] for job in stage.jobs]
        return [call for job in jobs for call in calls_of(job)]

    def run_stage(self, name: str) -> Ended:
        """Run the commands of a stage up to the first that fails."""
        ended = Ended("done", "")
        for call in self.commands(name):
            ended = run_call(call, RECIPE, JOB_SECONDS)
            if ended.how != "done":
                break
        return ended

    def make(self) -> None:
        """Run every stage that has not been run; a folder that is finished stays as it is.

        Raises:
            RuntimeError: A stage fails.
        """
        finished = self.folder / "finished.json"
        names: list[str] = json.loads(finished.read_text()) if finished.is_file() else []
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in [name for name in self.stages() if name != "preflight" and name not in names]:
            start = time.monotonic()
            ended = self.run_stage(name)
            if ended.how != "done":
                raise RuntimeError(f"stage {name} of the tiny recipe: {ended.how}: {ended.text[-3000:]}")
            print(f"stage {name} of the tiny recipe: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
            names.append(name)
            finished.write_text(json.dumps(names))


def calls_of(job: Job) -> list[Call]:
    """The commands of a job, one for each of its parts."""
    words = job.command
    if words[0] == "local/data.sh":
        words = ("python3", "-m", "speechllama.bin.prepare_data", "mini_covost2", *words[1:])
    name = words[2].rpartition(".")[2]
    numbered = [
        tuple(str(number) if word == "JOB" else word for word in words[3:]) for number in range(1, job.number + 1)
    ]
    return [Call(name, part) for part in numbered]


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in a directory for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def describe_run() -> dict[str, Any]:
    """The commit and the machine, for reports."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {"commit": commit, "code": digest_code(), "hardware": describe_cpu()}


def digest_code() -> str:
    """A fingerprint of the package's code: runs of other code may round otherwise, and are not compared."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "speechllama").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


class TimeLeft:
    """Progress of cases of about equal length: "12 of 100, 340 s left"."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def step(self) -> str:
        """Count one more, and say how far the work is."""
        self.done += 1
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        return f"{self.done} of {self.total}, {left:.0f} s left"
