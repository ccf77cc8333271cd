"""Tables of several test sets: one table for each, with its own control, differences, claims and axes."""

from __future__ import annotations

import pytest

from speechllama.report.table.files import figure_path
from test.report.table.conftest import Experiment


@pytest.fixture
def several(experiment: Experiment) -> Experiment:
    """Two systems on two test sets: of the second set the one is no better than its control."""
    for row, share, second in (("e6", 0.1, 0.2), ("e5", 0.4, 1.0)):
        experiment.add(row, share)
        experiment.add_second_set(row, second)
    return experiment


def test_each_set_has_its_rows_scores_controls_and_differences(several: Experiment) -> None:
    table = several.table("e6 e5")
    assert table["sets"] == ["test", "fleurs"]
    found = {(row["row"], row["set"]): row for row in table["rows"]}
    assert list(found) == [("e6", "test"), ("e5", "test"), ("e6", "fleurs"), ("e5", "fleurs")]
    assert found["e6", "test"]["bleu"] != found["e6", "fleurs"]["bleu"]
    assert all("control_bleu" in row and row["by_seed"]["1"]["signature"] for row in table["rows"])
    for name in ("test", "fleurs"):
        difference = found["e5", name]["difference"]["mean"]
        assert difference == pytest.approx(found["e5", name]["bleu"] - found["e6", name]["bleu"])


def test_claims_are_judged_on_each_set_by_itself(several: Experiment) -> None:
    claims = {claim["claim"]: claim for claim in several.table("e6 e5")["claims"]}
    first, second = (claims[f"e6 against the best of the others, e5, on {name}"] for name in ("test", "fleurs"))
    assert (first["verdict"], second["verdict"]) == ("agrees", "not judged")
    assert second["note"] == "e5: not better than its control (seed 1)"
    page = several.claims()
    assert "| e5 on fleurs | BLEU 0.0 [0.0, 0.0] | 0.0 | - | not better than its control (seed 1) |" in page


def test_the_page_and_the_figure_have_a_table_and_axes_for_each(several: Experiment) -> None:
    several.table("e6 e5 e4")
    page = several.page()
    assert page.index("Translation, test:\n\n| row |") < page.index("Translation, fleurs:\n\n| row |")
    assert page.count("* e4, seed 1: was not run\n") == 1
    svg = figure_path(several.root / "exp").read_text(encoding="utf-8")
    assert ">test<" in svg and ">fleurs<" in svg


def test_a_row_that_is_missing_on_one_set_says_so_there(several: Experiment) -> None:
    (several.root / "exp/e5.1/decode_fleurs_beam4/score.json").unlink()
    table = several.table("e6 e5")
    first, second = (row for row in table["rows"] if row["row"] == "e5")
    assert not first["missing"] and "has no " in second["missing"]["1"] and second["set"] == "fleurs"
    page = several.page()
    after = page.index("Translation, fleurs:")
    assert page.index("| e5 | - |", after) > after
