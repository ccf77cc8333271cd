"""Accuracy, macro F1 and confusions of labels, against counting by hand and a bootstrap of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechllama.bin import score
from speechllama.files import read_json, write_table
from speechllama.report.decoded_set import format_report, score_path
from speechllama.report.labels import UNKNOWN, score_labels
from speechllama.report.results import results_path, write_results
from speechllama.report.score import pair
from speechllama.report.table.significance import paired_p_values, resample_score
from speechllama.text.tasks import TASKS

LID = TASKS["lid"]
# Reference, hypothesis. German: 3 of 4 right, French: 1 of 2, Catalan: 0 of 1.
CASES = [
    ("German", "German"),
    ("German", " German "),
    ("German", "German"),
    ("German", "French"),
    ("French", "French"),
    ("French", "German"),
    ("Catalan", "Catalonian"),
]
NAMES = [f"u{number}" for number in range(len(CASES))]
CODES = {"German": "de", "French": "fr", "Catalan": "ca"}


def test_accuracy_macro_f1_and_confusions_are_those_counted_by_hand() -> None:
    texts = zip(NAMES, CASES, strict=True)
    references, hypotheses = {}, {}
    for name, (reference, hypothesis) in texts:
        references[name], hypotheses[name] = reference, hypothesis
    score = score_labels(pair(hypotheses, references))
    assert score.accuracy == pytest.approx(100 * 4 / 7)
    german = 2 * 3 / (4 + 4)  # right of both, of 4 references and 4 hypotheses
    french = 2 * 1 / (2 + 2)
    assert score.macro_f1 == pytest.approx(100 * (german + french + 0) / 3)
    assert score.confusion == {
        "Catalan": {UNKNOWN: 1},
        "French": {"French": 1, "German": 1},
        "German": {"German": 3, "French": 1},
    }
    assert (score.num_unknown, score.num_empty, score.num_utterances) == (1, 0, 7)
    assert score.signature == "accuracy|match:exact-text|bs:1000|seed:12345"
    hits = np.array([1, 1, 1, 0, 1, 0, 0])
    draws = np.random.default_rng(12345).choice(7, size=(1000, 7), replace=True)
    means = np.sort(100 * hits[draws].mean(axis=1))
    half = (means[974] - means[25]) / 2
    assert [score.accuracy_low, score.accuracy_high] == pytest.approx([means.mean() - half, means.mean() + half])


def test_systems_are_compared_by_accuracy() -> None:
    references = dict.fromkeys([f"u{number}" for number in range(50)], "German")
    good = {name: "German" if number % 10 else "French" for number, name in enumerate(references)}
    bad = {name: "German" if number % 2 else "French" for number, name in enumerate(references)}
    pairs, others = pair(good, references), pair(bad, references)
    found, signature = paired_p_values(pairs, {"bad": others}, LID)
    assert found["bad"] is not None and found["bad"] < 0.01
    assert "metric:accuracy|match:exact-text" in signature
    assert resample_score(pairs, LID).mean() == pytest.approx(90, abs=1)


def write_set(root: Path, hypotheses: dict[str, str], control: dict[str, str]) -> list[str]:
    """A decoded set, its control and its data; return the options of the command."""
    write_table(root / "test/utt2lang", {n: CODES[reference] for n, (reference, _) in zip(NAMES, CASES, strict=True)})
    decoded = root / "exp/lid_e6/decode_test_beam4"
    write_table(decoded / "text", hypotheses)
    write_table(Path(f"{decoded}_control") / "text", control)
    words = ["--hyp_dir", str(decoded), "--control_dir", f"{decoded}_control"]
    return [*words, "--data_dir", str(root / "test"), "--task", "lid"]


def test_the_label_table_is_the_reference_whose_codes_are_written_as_names(tmp_path: Path) -> None:
    hypotheses = {name: hypothesis for name, (_, hypothesis) in zip(NAMES, CASES, strict=True)}
    score.main(write_set(tmp_path, hypotheses, dict.fromkeys(NAMES, "French")))
    decoded = tmp_path / "exp/lid_e6/decode_test_beam4"
    report = read_json(score_path(decoded))
    assert report["accuracy"] == pytest.approx(57.1429) and report["control_accuracy"] == pytest.approx(28.5714)
    assert report["per_language"]["de"]["accuracy"] == 75 and "target" not in report
    assert report["warning"].startswith("not better than its control: Accuracy 57.14 % (95 % from ")
    line = format_report(report)
    assert "test (ca, de, fr): Accuracy 57.14 % [" in line and "control Accuracy 28.57 %" in line
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert "## Language identification\n" in page and "| Accuracy % [95 %] | macro F1 % | control Accuracy % |" in page
    assert f"| system | set | beam | label | {UNKNOWN} | Catalan | French | German |" in page
    assert "| lid_e6 | test | - | German | 0 | 0 | 1 | 3 |" in page
