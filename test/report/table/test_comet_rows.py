"""Rows with COMET: its difference to the reference and its p-value, from the same resamples as those of BLEU."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from speechllama.files import read_table, write_json
from speechllama.report.decoded_set import DecodedSet, score_decoded_set, score_path
from speechllama.report.segments import SegmentScores, digest_texts, write_segments
from test.report.table.conftest import Experiment, row_of

MODEL = "COMET|model:tiny"


def give_comet(experiment: Experiment, row: str, mean: float, seed: int = 1, signature: str = MODEL) -> np.ndarray:
    """Give a system, and its control, scores of utterances around a mean; return those of the system."""
    decoded = experiment.root / f"exp/{row}.{seed}/decode_test_beam4"
    references = experiment.references
    names = sorted(references)
    found = []
    for folder, middle in ((decoded, mean), (Path(f"{decoded}_control"), 0.1)):
        hypotheses = read_table(folder / "text")
        texts = digest_texts([hypotheses[name] for name in names], [references[name] for name in names])
        draw = random.Random(f"{row}{seed}{folder.name}")
        scores = {name: middle + 0.2 * (draw.random() - 0.5) for name in names}
        write_segments(SegmentScores(signature, texts, "tiny", scores), folder, "comet")
        found.append(np.array(list(scores.values())))
    data = DecodedSet(decoded, experiment.root / "dump/test", f"{decoded}_control")
    write_json(score_path(decoded), score_decoded_set(data, "st"))
    return found[0]


@pytest.fixture
def two(experiment: Experiment) -> Experiment:
    experiment.add("e6", 0.1)
    experiment.add("e5", 0.4)
    return experiment


def test_the_difference_its_interval_and_p_are_those_of_a_paired_bootstrap(two: Experiment) -> None:
    best, other = give_comet(two, "e6", 0.82), give_comet(two, "e5", 0.80)
    difference = row_of(two.table("e6 e5"), "e5")["further_differences"]["comet"]
    draws = np.random.default_rng(12345).choice(len(best), size=(1000, len(best)), replace=True)
    values = 100 * (other[draws].mean(axis=1) - best[draws].mean(axis=1))
    assert difference["mean"] == pytest.approx(100 * (other.mean() - best.mean()), abs=1e-3)
    ends = np.percentile(values, [2.5, 97.5])
    assert [difference["low"], difference["high"]] == pytest.approx(list(ends), abs=1e-3)
    # sacreBLEU's test: how often the size of a resampled difference exceeds the mean size by more than the difference.
    sizes = np.abs(values)
    count = np.sum(sizes - sizes.mean() > abs(100 * (other.mean() - best.mean())))
    assert difference["p_value"] == pytest.approx((count + 1) / 1001, abs=2e-3)


def test_the_page_shows_difference_p_and_control_next_to_those_of_bleu(two: Experiment) -> None:
    give_comet(two, "e6", 0.82)
    give_comet(two, "e5", 0.40)
    table = two.table("e6 e5")
    page = two.page()
    assert "| COMET | less e6 | p | control | COMET less e6 | COMET p | COMET control |" in page
    line = next(line for line in page.splitlines() if line.startswith("| e5 | 1,000"))
    comet = row_of(table, "e5")["further_differences"]["comet"]
    control = row_of(table, "e5")["control_comet"]
    cells = f"{comet['mean']:+.1f} [{comet['low']:+.1f}, {comet['high']:+.1f}] | 0.001 | {control:.1f}"
    assert line.count(" | 0.001 | ") == 2 and f" | {cells} | " in line and comet["mean"] < -30
    assert "metric:segment-mean" in table["test"] and f"* `{MODEL}|bs:1000|seed:12345`" in page


def test_without_it_in_any_row_there_is_no_column(two: Experiment) -> None:
    assert "further_differences" not in row_of(two.table("e6 e5"), "e5") and "COMET" not in two.page()


def test_scores_of_two_models_are_neither_compared_nor_averaged(two: Experiment) -> None:
    give_comet(two, "e6", 0.82)
    give_comet(two, "e5", 0.80, signature="COMET|model:other")
    row = row_of(two.table("e6 e5"), "e5")
    assert "comet" in row and "further_differences" not in row and row["difference"]
    two.add("e6", 0.1, seed=2)
    give_comet(two, "e6", 0.82, seed=2, signature="COMET|model:other")
    row = row_of(two.table("e6", seeds="1 2"), "e6")
    assert "comet" not in row and "bleu" in row


def test_seeds_of_one_model_have_a_mean_with_its_interval(two: Experiment) -> None:
    first = give_comet(two, "e6", 0.82)
    two.add("e6", 0.1, seed=2)
    second = give_comet(two, "e6", 0.72, seed=2)
    row = row_of(two.table("e6", seeds="1 2"), "e6")
    assert row["comet"] == pytest.approx(50 * (first.mean() + second.mean()), abs=1e-3)
    assert row["comet_low"] < row["comet"] < row["comet_high"] and row["comet_max"] > row["comet_min"]
