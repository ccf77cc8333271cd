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


def test_the_loss_on_text_alone_is_that_on_all_positions(benchmark: ModuleType) -> None:
    losses = []
    for side in ("text", "all"):
        benchmark.seed()
        losses.append(benchmark.measure_step(side, num_audio=5, repeats=1)["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_search_writes_what_generate_writes(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str], beam: int
) -> None:
    benchmark.seed()
    benchmark.compare_decoding(beam, repeats=1)  # asserts equal text
    assert "equal text" in capsys.readouterr().out
