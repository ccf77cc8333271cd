"""The benchmark of pre-trained weights, on the tiny recipe: its two sides compute the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.files import read_table
from tools import benchmark_pretrained


def test_a_row_for_each_comparison(
    recipe: Any, tiny_llm: Path, make_data_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    clips = [*read_table(make_data_dir(num=3) / "wav.scp").values()]
    options = ["--ctc_dir", str(recipe.root / "ctc"), "--llm", str(tiny_llm), "--repeats", "1", "--max_tokens", "4"]
    monkeypatch.setattr(sys, "argv", ["benchmark_pretrained.py", *options, "--clips", *clips])
    monkeypatch.setattr(benchmark_pretrained.torch, "set_num_threads", lambda number: None)
    benchmark_pretrained.main()
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith("| ")][1:]
    kinds = ["features", "step of a later", "step of a later", "step of E5", "decoding, greedy", "decoding, beam 4"]
    assert [row[2 : 2 + len(kind)] for row, kind in zip(rows, kinds, strict=True)] == kinds
