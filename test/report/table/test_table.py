"""The table of systems, from made-up scores and hypotheses: seeds, what is missing, flags, pages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.figure import save_figure
from speechllama.files import read_json, write_json, write_table
from speechllama.report.decoded_set import score_path
from speechllama.report.pictures.scores import draw_scores
from speechllama.report.results import write_results
from speechllama.report.table.build import largest
from speechllama.report.table.files import figure_path, table_path
from speechllama.report.table.run import find_compression
from test.report.table.conftest import Experiment, make_references, row_of


def test_a_difference_is_that_of_the_scores_and_lies_inside_its_interval(experiment: Experiment) -> None:
    experiment.add("e5", 0.5)
    experiment.add("e6", 0.1)
    table = experiment.table("e5 e6")
    worse, reference = row_of(table, "e5"), row_of(table, "e6")
    assert worse["difference"]["mean"] == pytest.approx(worse["bleu"] - reference["bleu"])
    assert worse["difference"]["low"] < worse["difference"]["mean"] < worse["difference"]["high"] < 0
    assert worse["difference"]["p_value"] < 0.05
    assert "difference" not in reference
    assert reference["bleu_low"] == reference["by_seed"]["1"]["bleu_low"]
    assert figure_path(experiment.root / "exp").read_text().count("<svg") == 1


def test_two_systems_at_their_control_have_no_p_value(experiment: Experiment) -> None:
    experiment.add("e5", 1.0)
    experiment.add("e6", 1.0)
    experiment.add("e4", 0.2)
    table = experiment.table("e4 e5 e6")
    assert row_of(table, "e5")["flags"] == row_of(table, "e6")["flags"] == ["not better than its control (seed 1)"]
    assert row_of(table, "e5")["difference"]["p_value"] is None  # chance decides between them
    assert row_of(table, "e4")["difference"]["p_value"] < 0.05


def drop(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def test_the_page_has_costs_languages_and_how_rows_were_made(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    experiment.add("e0", 0.5)
    experiment.table("e0 e6")
    page = experiment.page()
    # 320 frames are 80 of the encoder and 10 vectors of eight; own training two minutes, the LLM's one
    assert "| 1,000 (10) |" in page and "| 32.0 | 280 | 2.0 | 1.0 | 0.75 | 0.050 |" in page
    assert "| row | de | fr |" in page
    assert "| e6 | 1 | 3,600 (LLM) + 280 | 3 by valid.loss.min: 3, 1, 2 | 4 | abc | a CPU, 2 threads |" in page
    assert "| e6.1 | test | 4 |" in page, "the list of all scored sets stays on the page"
    before = page
    write_results(experiment.root / "exp", "Results")
    assert experiment.page() == before, "scoring another system leaves the table on the page"
    table = read_json(table_path(experiment.root / "exp"))
    older = [drop(row, "num_updates") for row in table["rows"]]
    write_json(table_path(experiment.root / "exp"), {**table, "rows": older})
    write_results(experiment.root / "exp", "Results")
    assert "| 32.0 | - | 2.0 | 1.0 | 0.75 | 0.050 |" in experiment.page(), "nor does an older table stop it"
    score = experiment.root / "exp/e0.1/decode_test_beam4/score.json"
    later = table_path(experiment.root / "exp").stat().st_mtime + 2
    os.utime(score, (later, later))
    write_results(experiment.root / "exp", "Results")
    assert f"* e0 in the table: {score} is newer; run the recipe's run_table.sh again" in experiment.page()


def test_several_seeds_are_a_mean_with_its_spread(experiment: Experiment) -> None:
    for seed, share in ((1, 0.2), (2, 0.3), (3, 0.25)):
        experiment.add("e6", share, seed)
        experiment.add("e5", share + 0.2, seed)
    table = experiment.table("e5 e6", seeds="1 2 3")
    row = row_of(table, "e5")
    scores = [row["by_seed"][seed]["bleu"] for seed in "123"]
    assert row["bleu"] == pytest.approx(np.mean(scores))
    assert (row["bleu_min"], row["bleu_max"]) == (min(scores), max(scores))
    assert sorted(row["difference"]["by_seed"]) == ["1", "2", "3"]
    assert row["difference"]["p_value"] == max(row["by_seed"][seed]["p_value"] for seed in "123")
    assert f"{row['bleu']:.1f} ({min(scores):.1f} to {max(scores):.1f}) [" in experiment.page()


def test_a_seed_with_equal_scores_is_not_skipped_by_the_test_of_several() -> None:
    assert largest([0.001, 0.2, 0.01]) == 0.2
    assert largest([0.001, None]) == 1.0, "one seed shows no difference at all"
    assert largest([None]) is None and largest([]) is None


def test_only_seeds_that_both_rows_have_are_paired(experiment: Experiment) -> None:
    for seed, share in ((1, 0.2), (2, 0.3)):
        experiment.add("e6", share, seed)
    for seed, share in ((2, 0.5), (3, 0.6)):
        experiment.add("e5", share, seed)
    row = row_of(experiment.table("e5 e6", seeds="1 2 3"), "e5")
    reference = row_of(read_json(table_path(experiment.root / "exp")), "e6")
    assert row["difference"]["by_seed"] == {"2": row["by_seed"]["2"]["bleu"] - reference["by_seed"]["2"]["bleu"]}
    assert row["difference"]["p_value"] == row["by_seed"]["2"]["p_value"] and row["by_seed"]["3"]["p_value"] is None
    assert row["missing"] == {"1": "was not run"} and reference["missing"] == {"3": "was not run"}
    assert "without seed 1" in experiment.page() and "without seed 3" in experiment.page()


def test_the_figure_shows_seventeen_rows_and_three_seeds_apart(tmp_path: Path) -> None:
    rows = []
    for place in range(17):
        seeds = {str(seed): {"bleu": 40.0 + place + seed} for seed in (1, 2, 3)}
        rows.append(
            {"row": f"system_{place}", "bleu": 42.0 + place, "bleu_low": 38.0, "bleu_high": 60.0, "by_seed": seeds}
            | {"control_bleu": 1.0}
        )
    table = {"reference": "system_3", "rows": [*rows, {"row": "failed", "missing": {"1": "was not run"}}]}
    save_figure(draw_scores(table), tmp_path / "scores.svg")
    svg = (tmp_path / "scores.svg").read_text(encoding="utf-8")
    names = re.findall(r">(system_\d+|failed)</text>", svg)
    assert names == [f"system_{place}" for place in range(17)]
    height = float(re.findall(r'<svg [^>]*?height="([\d.]+)pt"', svg.replace("\n", " "))[0])
    assert height / 17 > 25, "points for each row; its name is 10 high"
    assert svg.count("<use ") >= 17 * 4  # three seeds and a control in each row
    save_figure(draw_scores(table), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "scores.svg").read_bytes()


def test_a_row_whose_directories_or_scores_are_not_all_there_is_named_with_its_stage(experiment: Experiment) -> None:
    system = experiment.add("e6", 0.1)
    score = score_path(system / "decode_test_beam4")
    report = read_json(score)
    write_json(score, {key: value for key, value in report.items() if key != "signature"})
    with pytest.raises(ValueError, match="e6, seed 1: no 'signature' in its records; run it again from stage decode"):
        experiment.table("e6")
    score.unlink()
    assert row_of(experiment.table("e6"), "e6")["missing"]["1"].endswith("decode_test_beam4/score.json")


def test_what_failed_or_was_not_run_is_named_and_the_rest_stays(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    failed = experiment.add("e5", 0.1)
    (experiment.root / "exp/table").mkdir()
    (experiment.root / "exp/table/e5.seed1.failed").write_text("stage 8 train, status 1\n")
    table = experiment.table("e3 e5 e6")
    assert row_of(table, "e5")["missing"] == {"1": "failed: stage 8 train, status 1"}
    assert "bleu" not in row_of(table, "e5"), f"an old score in {failed} is not of this run"
    page = experiment.page()
    assert "| e3 | - | - |" in page and "| **was not run** |" in page
    assert "* e3, seed 1: was not run" in page and "* e5, seed 1: failed: stage 8 train, status 1" in page
    assert "not run | no score of e5 and e3" in experiment.claims()


def test_a_row_no_better_than_its_control_is_flagged_on_both_pages(experiment: Experiment) -> None:
    experiment.add("e3", 1.0)
    experiment.add("e5", 0.1)
    experiment.table("e3 e5", reference="e5")
    assert "**not better than its control (seed 1)**" in experiment.page()
    assert "not judged | e3: not better than its control (seed 1) |" in experiment.claims()


def test_other_conditions_than_the_references_are_flagged(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    system = experiment.add("e5", 0.2, beam_size=1)
    write_json(system / "average.json", {"num_best": 1, "criterion": "valid.acc.max", "epochs": [3]})
    assert row_of(experiment.table("e5 e6"), "e5")["differs"] == ["beam", "selection rule"]
    assert "differs from the reference in: beam, selection rule" in experiment.page()


def test_a_cascade_is_a_row_with_the_costs_and_the_data_of_its_first_system(experiment: Experiment) -> None:
    learned = experiment.root / "exp/ctc/compressed/train"
    write_table(learned / "text", {"de_1": "the dog"})
    write_table(learned / "src_text", {"de_1": "der hund"})
    recognition = experiment.add("e6:asr", 0.1)
    for folder, table in ((experiment.add("e6", 0.1), "text"), (recognition, "src_text")):
        entry = f"[{learned / table}, text, text]"
        (folder / "config.yaml").write_text(f"train_data_path_and_name_and_type: [{entry}]\n", encoding="utf-8")
    cascade = experiment.add("cascade_e6", 0.3, rtf=0.09, transcript_seconds=2.5, num_parameters=2000)
    for name in ("training.json", "average.json", "config.yaml"):  # nothing of its own is trained
        (cascade / name).unlink()
    experiment.add_paths(
        "cascade_e6", 1, system_dir=cascade, base_dir=recognition, decode_dir=cascade / "decode_test_beam4"
    )
    row = row_of(experiment.table("e6 e6:asr cascade_e6"), "cascade_e6")
    assert row["differs"] == [] and row["difference"]["mean"] < 0
    assert row["rtf"] == 0.09 and row["num_updates"] == 280
    assert "| 2,000 (10) |" in experiment.page() and "| 280 | 2.0 | 1.0 | 0.75 | 0.090 |" in experiment.page()
    taught = learned.with_name("train_by_asr_e3_beam4")
    write_table(taught / "text", {"de_1": "the dog"})
    write_table(taught / "src_text", {"de_1": "der hunt"})
    (taught / "taught.json").write_text("{}")
    entry = f"[{taught}/src_text, text, text]"
    (recognition / "config.yaml").write_text(f"train_data_path_and_name_and_type: [{entry}]\n", encoding="utf-8")
    assert row_of(experiment.table("e6 cascade_e6"), "cascade_e6")["differs"] == ["data"]


def test_another_test_set_is_flagged_and_gives_no_difference(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    other = Experiment(experiment.root / "other")
    other.references = make_references(seed=1)
    write_table(other.root / "dump/test/text", other.references)
    other.add("e5", 0.1)
    experiment.paths |= other.paths
    row = row_of(experiment.table("e5 e6"), "e5")
    assert row["differs"] == ["test set"] and "difference" not in row
    assert "no seed, no test set or no scoring in common" in experiment.claims()


def test_recognition_has_a_table_of_its_own(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    experiment.add("e6:asr", 0.2)
    row = row_of(experiment.table("e6 e6:asr"), "e6:asr")
    assert 15 < row["wer"] < 25 and row["control_wer"] == 100
    assert row["differs"] == [] and "difference" not in row
    assert "Recognition:\n\n| row | parameters | WER % | WER normalised % |" in experiment.page()


def test_recognition_is_compared_by_word_errors(experiment: Experiment) -> None:
    experiment.task = "asr"
    for name, share in (("e3", 0.3), ("e6", 0.1)):
        experiment.add(name, share)
    table = experiment.table("e3 e6")
    row = row_of(table, "e3")
    assert row["difference"]["low"] > 10 and row["difference"]["p_value"] < 0.01
    assert row["wer_low"] < row["wer"] < row["wer_high"]
    assert "metric:WER" in table["test"] and f"* `{table['test']}`" in experiment.page()
    assert "WER in percent; orange: reference" in (experiment.root / "exp/table/scores.svg").read_text()


def test_a_recognition_score_of_an_older_version_is_a_row_without_an_interval(experiment: Experiment) -> None:
    experiment.task = "asr"
    path = experiment.add("e6", 0.1) / "decode_test_beam4/score.json"
    report = read_json(path)
    write_json(path, {key: value for key, value in report.items() if not key.startswith("wer_")})
    row = row_of(experiment.table("e6"), "e6")
    assert row["wer"] == report["wer"] and "wer_low" not in row and "wer_normalised" not in row


def test_a_damaged_row_is_named(experiment: Experiment) -> None:
    system = experiment.add("e6", 0.1)
    (system / "decode_test_beam4/text").write_text("de_01 a dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match="system e6, seed 1: .*39 of 40 utterances have no hypothesis"):
        experiment.table("e6")


def test_a_reference_that_is_no_row_is_refused(experiment: Experiment) -> None:
    with pytest.raises(ValueError, match="unknown reference 'e6', expected one of the rows e1"):
        experiment.table("e1")


def test_the_compression_of_a_further_data_directory_is_in_its_own_report(tmp_path: Path) -> None:
    report = {"sets": {"test": {"compression_ratio": 9.5}}}
    write_json(tmp_path / "report.json", report)
    write_json(tmp_path / "real/report.json", {"sets": {"real": {"compression_ratio": 7.0}}})
    dirs = {"compressed_dir": tmp_path}
    assert [find_compression(dirs, name, []) for name in ("test", "real", "dev")] == [9.5, 7.0, None]
