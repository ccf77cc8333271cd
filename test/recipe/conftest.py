"""Plans made in a recipe's directory: one of egs, or one of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.recipe.plan import Plan, make_plan

EGS = Path(__file__).resolve().parents[2] / "egs"
MINI_SETTINGS = ("--corpus_kind", "mini_covost2", "--langs", "de fr es", "--ctc_num_best", "1", "--num_best", "1")
MakePlan = Callable[..., Plan]


def commands(plan: Plan, stage: str) -> list[tuple[str, ...]]:
    """The commands of a stage, without `python3 -m speechllama.bin.`."""
    jobs = [job for _, row in plan.stages() if row.name == stage for job in row.jobs]
    return [(job.command[2].removeprefix("speechllama.bin."), *job.command[3:]) for job in jobs]


def value_of(command: tuple[str, ...], name: str) -> str:
    """An option's value in a command."""
    return command[command.index(f"--{name}") + 1]


@pytest.fixture
def mini_plan(monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Plan a run of mini_covost2 from the user's words."""
    monkeypatch.chdir(EGS / "mini_covost2")
    return lambda *words: make_plan(words, MINI_SETTINGS)


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe's folder: `a__b` is its conf/a/b.yaml, and all other files are those of TEMPLATE."""

    def make(**confs: str) -> Path:
        folder = tmp_path / "recipe"
        for name, text in confs.items():
            path = folder / "conf" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


@pytest.fixture
def own_plan(make_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plan a run of a recipe whose conf has these files, from the user's words."""

    def make(*words: str, **confs: str) -> Plan:
        monkeypatch.chdir(make_recipe(**confs))
        return make_plan(words, ["--langs", "de", "--llm", "some/llm"])

    return make
