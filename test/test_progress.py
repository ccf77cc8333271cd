"""Progress: lines with rate and time left in a log, a bar on a terminal, and the items as they are."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from speechllama.progress import LOG_INTERVAL_SECONDS, progress

Lines = list[str]


def work(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, total: float | None, *took: float) -> Lines:
    """Items of two clips each, which take so many seconds of a clock of ours -> what the log says."""
    clock = [1000.0]
    monkeypatch.setattr("speechllama.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    def items() -> Iterator[float]:
        for seconds in took:
            clock[0] += seconds
            yield seconds

    with caplog.at_level(logging.INFO):
        assert list(progress(items(), total, "clips", lambda _: 2)) == [*took]
    return [record.getMessage() for record in caplog.records]


def test_a_log_has_the_rate_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert work(monkeypatch, caplog, 10, 4.0, 4.0, 4.0, 4.0, 12.0) == [
        "6 of 10 clips, 0.5 a second, 8 s left",
        "10 of 10 clips, 0.4 a second, 0 s left",
    ]


def test_lines_come_no_more_often_than_a_reader_needs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(work(monkeypatch, caplog, 2000, *[0.5] * 1000)) == 500 / LOG_INTERVAL_SECONDS


def test_an_unknown_total_has_no_time_left_and_more_than_promised_none_below_0(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert work(monkeypatch, caplog, None, 20.0) == ["2 of ? clips, 0.1 a second"]
    caplog.clear()
    assert work(monkeypatch, caplog, 1, 20.0) == ["2 of 1 clips, 0.1 a second, 0 s left"]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress("abcd", 8, "clips", lambda _: 2)) == [*"abcd"]
    assert "8/8" in terminal.getvalue() and " clips" in terminal.getvalue() and not caplog.records
