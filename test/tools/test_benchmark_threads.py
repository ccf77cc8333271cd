"""The benchmark of threads, at a tiny size and without a busy process: it takes ratios run by run."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool as a module, with a small batch."""
    spec = importlib.util.spec_from_file_location("benchmark_threads", root / "tools" / "benchmark_threads.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_threads", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NUM_UTTERANCES", 1)
    monkeypatch.setattr(module, "NUM_FRAMES", 100)
    return module


def test_a_run_under_the_launcher_gives_the_seconds_of_an_update(benchmark: ModuleType) -> None:
    assert 0 < benchmark.run("launcher", 1) < 60


def test_a_step_is_a_training_step(benchmark: ModuleType) -> None:
    assert 0 < benchmark.measure_steps(2) < 60


def test_free_and_busy_runs_alternate_and_ratios_are_taken_pair_by_pair(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
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
