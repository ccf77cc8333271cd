"""The benchmark of the search's options runs, at a tiny size."""

from __future__ import annotations

import sys

import pytest

from tools import benchmark, benchmark_search


def test_every_option_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("VOCABULARY", 64), ("NUM_UTTERANCES", 2)):
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(benchmark_search, "NUM_TOKENS", 3)
    monkeypatch.setattr(sys, "argv", ["benchmark_search.py", "--repeats", "1"])
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    benchmark_search.main()
    out = capsys.readouterr().out
    assert out.count(" of the time (") == len(benchmark_search.OPTIONS)
    assert "\n| `num_samples` 8, `mbr` chrf | `num_samples` 8 | " in out
