"""The benchmark's two sides compute the same, at a tiny size."""

from __future__ import annotations

import pytest
import torch

from tools import benchmark
from tools.pairs import Pairs, alternate


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small vocabulary."""
    monkeypatch.setattr(benchmark, "VOCABULARY", 64)


@pytest.mark.parametrize("sides", [("text", "all"), ("cache", "features")])
def test_both_sides_of_a_training_step_have_the_same_loss(sides: tuple[str, str]) -> None:
    losses = []
    for side in sides:
        torch.manual_seed(0)
        losses.append(benchmark.make_step(side, num_audio=5)())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_ratios_are_taken_pair_by_pair() -> None:
    pairs = Pairs([1.0, 10.0, 2.0], [2.0, 40.0, 6.0])  # the machine was busy during the second
    assert pairs.ratio(is_faster=True) == "3.00 times faster (2.00 to 4.00)"
    assert pairs.ratio(is_faster=False) == "0.33 of the time (0.25 to 0.50)"


def test_the_sides_run_in_turn() -> None:
    calls: list[str] = []
    alternate(lambda: calls.append("ours"), lambda: calls.append("other"), repeats=2)
    assert calls == ["ours", "other"] * 3


@pytest.mark.parametrize("beam", [1, 4])
def test_the_search_writes_what_generate_writes(capsys: pytest.CaptureFixture[str], beam: int) -> None:
    torch.manual_seed(0)
    benchmark.compare_decoding(beam, repeats=1)  # asserts equal text
    assert "equal text" in capsys.readouterr().out


def test_packed_lines_and_padded_ones_have_the_same_loss(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    benchmark.compare_packing(repeats=1)  # asserts equal losses
    assert "24 lines of 12 to 58 tokens, equal loss" in capsys.readouterr().out
