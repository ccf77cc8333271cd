"""Planned runs whose outputs go to the folder of the test, and a GPU that is not there."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import torch

from speechllama.recipe.plan import make_plan
from speechllama.recipe.preflight.run import CheckedRun
from test.recipe.conftest import EGS


class MakeRun(Protocol):
    """See the fixture `checked_run`."""

    def __call__(
        self, recipe: str | Path, *words: str, finished: Sequence[str] = (), launcher: str = "local"
    ) -> CheckedRun:
        """Plan a run."""


@pytest.fixture
def checked_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Plan a run of a recipe of egs, or of a folder with a conf; its corpus is not there yet."""

    def make(recipe: str | Path, *words: str, finished: Sequence[str] = (), launcher: str = "local") -> CheckedRun:
        monkeypatch.chdir(EGS / recipe)
        places = [f"--{name}={tmp_path / name}" for name in ("datadir", "dumpdir", "expdir", "downloads")]
        return CheckedRun(make_plan(words, ["--langs", "de fr", *places]), frozenset(finished), launcher)

    return make


@pytest.fixture
def install_card(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make torch find one GPU with that many bytes of memory."""
    card = namedtuple("card", "total_memory")

    def install(total: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card(total))

    return install
