"""The benchmark's two sides compute the same, at a tiny size."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool as a module, with a small vocabulary."""
    spec = importlib.util.spec_from_file_location("benchmark", root / "tools" / "benchmark.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VOCABULARY", 64)
    return module


@pytest.mark.parametrize("sides", [("text", "all"), ("cache", "features")])
def test_both_sides_of_a_training_step_have_the_same_loss(benchmark: ModuleType, sides: tuple[str, str]) -> None:
    losses = []
    for side in sides:
        benchmark.seed()
        losses.append(benchmark.make_step(side, num_audio=5)())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_ratios_are_taken_pair_by_pair(benchmark: ModuleType) -> None:
    pairs = benchmark.Pairs([1.0, 10.0, 2.0], [2.0, 40.0, 6.0])  # the machine was busy during the second
    assert pairs.ratio(is_faster=True) == "3.00 times faster (2.00 to 4.00)"
    assert pairs.ratio(is_faster=False) == "0.33 of the time (0.25 to 0.50)"


def test_the_sides_run_in_turn(benchmark: ModuleType) -> None:
    calls: list[str] = []
    benchmark.alternate(lambda: calls.append("ours"), lambda: calls.append("other"), repeats=2)
    assert calls == ["ours", "other"] * 3


@pytest.mark.parametrize("beam", [1, 4])
def test_the_search_writes_what_generate_writes(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str], beam: int
) -> None:
    benchmark.seed()
    benchmark.compare_decoding(beam, repeats=1)  # asserts equal text
    assert "equal text" in capsys.readouterr().out
