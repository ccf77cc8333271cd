"""Tables of systems that write several languages: a part for each, with its own differences, tests and axes."""

from __future__ import annotations

import pytest

from speechllama.files import write_table
from speechllama.report.table.files import claims_path, figure_path
from test.report.table.conftest import Experiment


@pytest.fixture
def several(experiment: Experiment) -> Experiment:
    """Two systems with half of their texts in German, half in Chinese; and one of recognition."""
    targets = {name: "de" if number % 4 < 2 else "zh-CN" for number, name in enumerate(experiment.references)}
    write_table(experiment.root / "dump/test/utt2target", targets)
    for row, share in (("e6", 0.1), ("e5", 0.4), ("e6:asr", 0.2)):
        experiment.add(row, share)
    return experiment


def test_each_target_has_its_part_of_the_table(several: Experiment) -> None:
    table = several.table("e6 e5 e6:asr e4")
    assert [(row["row"], row.get("part", "")) for row in table["rows"]] == [
        *(("e6", "de"), ("e5", "de"), ("e6:asr", ""), ("e4", "")),
        *(("e6", "zh-CN"), ("e5", "zh-CN")),
    ]
    german, chinese = (next(row for row in table["rows"] if row.get("part") == part) for part in ("de", "zh-CN"))
    assert "tok:13a" in german["by_seed"]["1"]["signature"] and "tok:zh" in chinese["by_seed"]["1"]["signature"]
    fives = [row for row in table["rows"] if row["row"] == "e5"]
    assert all(row["difference"]["mean"] < 0 and row["difference"]["p_value"] < 0.05 for row in fives)
    assert table["test"].count("tok:") == 2
    assert {claim["claim"].rpartition(", into ")[2] for claim in table["claims"]} == {"de", "zh-CN"}


def test_the_page_and_the_figure_keep_them_apart(several: Experiment) -> None:
    several.table("e6 e5 e6:asr e4")
    page = several.page()
    german, chinese, recognition = (
        page.index(f"{heading}:\n\n| row |")
        for heading in ("Translation into German", "Translation into Chinese", "Recognition")
    )
    assert german < page.index("| e4 | -") < chinese < recognition
    svg = figure_path(several.root / "exp").read_text(encoding="utf-8")
    assert ">into German<" in svg and ">into Chinese<" in svg
    assert "e6 against e5, into de" not in svg and "into zh-CN" in claims_path(several.root / "exp").read_text()


def test_a_reference_without_a_score_leaves_the_parts_as_they_are(several: Experiment) -> None:
    table = several.table("e3 e6 e5", reference="e3")
    assert [(row["row"], row.get("part", "")) for row in table["rows"]] == [
        *(("e3", ""), ("e6", "de"), ("e5", "de"), ("e6", "zh-CN"), ("e5", "zh-CN")),
    ]
    assert all("difference" not in row for row in table["rows"])
