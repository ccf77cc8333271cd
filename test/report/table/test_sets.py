"""Tables of several test sets: one table for each, with its own control, differences, claims and axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import decode, score
from speechllama.files import read_table
from speechllama.report.table.files import figure_path
from test.report.table.conftest import Experiment, row_of


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


def test_a_row_says_of_a_set_without_references_that_it_is_not_scored(recipe: Any, tmp_path: Path) -> None:
    blind = recipe.copy_sets(tmp_path / "dump", {"text": ("",)}) / "test"
    decoded, control = (tmp_path / f"exp/st_e6/decode_test_beam4{end}" for end in ("", "_control"))
    for output, is_control in ((decoded, "false"), (control, "true")):
        words = ["--exp_dir", str(recipe.root / "e6"), "--data_dir", str(blind), "--output_dir", str(output)]
        decode.main([*words, "--control", is_control])
        assert len(read_table(output / "text")) == 6
    score.main(["--hyp_dir", str(decoded), "--control_dir", str(control), "--data_dir", str(blind)])
    experiment = Experiment(tmp_path / "others")
    experiment.add("e5", 0.2)
    experiment.add_paths("e6", 1, system_dir=decoded.parent, decode_dir=decoded, data_dir=blind)
    row = row_of(experiment.table("e5 e6", reference="e5"), "e6")
    assert row["missing"] == {"1": f"is not scored: no references in {blind}/text"} and "bleu" not in row
    assert f"is not scored: no references in {blind}/text" in experiment.page()


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
