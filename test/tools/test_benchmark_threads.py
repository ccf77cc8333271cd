"""The benchmark of threads, at a tiny size and without a busy process: it takes ratios run by run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tools import benchmark_threads as benchmark


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small batch."""
    monkeypatch.setattr(benchmark, "NUM_UTTERANCES", 1)
    monkeypatch.setattr(benchmark, "NUM_FRAMES", 100)


def test_a_run_under_the_launcher_gives_the_seconds_of_an_update() -> None:
    assert 0 < benchmark.run("launcher", 1) < 60


def test_a_step_is_a_training_step() -> None:
    assert 0 < benchmark.measure_steps(2) < 60


def test_free_and_busy_runs_alternate_and_ratios_are_taken_pair_by_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    @contextlib.contextmanager
    def foreign() -> Iterator[None]:
        calls.append("busy")
        yield

    def run(setting: str, num_steps: int) -> float:
        calls.append(setting)
        return len(calls) / 1000  # a machine that becomes slower and slower

    monkeypatch.setattr(benchmark, "foreign_process", foreign)
    monkeypatch.setattr(benchmark, "run", run)
    seconds = benchmark.measure(num_steps=1, repeats=2)
    assert calls[:6] == ["launcher", "busy", "launcher", "active", "busy", "active"]
    assert seconds["active"] == ([0.004, 0.019], [0.006, 0.021])
    rows = benchmark.format_rows(seconds)
    assert rows[3] == "| active | 11.5 | 13.5 | 1.30 (1.11 to 1.50) | 1.00 (1.00 to 1.00) |"
