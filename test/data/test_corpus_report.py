"""report.json of any form: counted where that is possible, and told in stage data where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import validate_data_dir
from speechllama.data.corpus_report import SourceReport, check_report, count_rows, write_report

UNKNOWN: list[Any] = [{"train": "many"}, {"languages": {"de": {}}}, {"languages": 3}, {"train": None}, [1]]


@pytest.mark.parametrize(
    "report", [{"train": 513, "test": 60}, {"train": {"rows": 513}, "test": {"rows": 60, "kept": 1}}]
)
def test_counts_alone_are_a_report(tmp_path: Path, report: dict[str, Any]) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert [count_rows(tmp_path / "report.json", name) for name in ("train", "test", "other")] == [513, 60, 0]
    assert check_report(tmp_path / "report.json", {"train": 513, "test": 59, "other": 3}) == []
    (warning,) = check_report(tmp_path / "report.json", {"test": 61})
    assert "60 utterances of test, found 61; expected the number before any was dropped" in warning


@pytest.mark.parametrize("report", UNKNOWN)
def test_another_form_counts_nothing_and_is_told(tmp_path: Path, report: Any) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert count_rows(tmp_path / "report.json", "train") == 0
    (warning,) = check_report(tmp_path / "report.json", {"train": 1})
    assert 'expected {"train": count, "dev": count, "test": count}' in warning


def test_the_report_of_a_recipe_is_read(tmp_path: Path) -> None:
    reports = [SourceReport(name, "t", "t") for name in ("de", "fr")]
    for report, rows in zip(reports, (3, 4), strict=True):
        report.splits["test"].rows = rows
    write_report(reports, tmp_path, "Radio")
    assert count_rows(tmp_path / "report.json", "test") == 7
    assert (tmp_path / "report.md").read_text().startswith("# Radio: what was kept and what was dropped")


def test_stage_data_tells_of_a_report_that_scoring_could_not_read(
    make_data_dir: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text('{"sets": ["train"]}')
    assert validate_data_dir.main(["--data_dir", str(make_data_dir(num=2))]) == 0
    assert f"WARNING {tmp_path}/report.json: expected" in capsys.readouterr().err
