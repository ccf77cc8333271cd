"""Another tokenizer of BLEU than the target language's: named in the score, and never averaged or compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import score
from speechllama.files import read_json, write_json, write_table
from speechllama.report.decoded_set import score_path
from speechllama.report.results import results_path, write_results
from test.report.table.conftest import Experiment, row_of

REFERENCES = {"en_c": "今天天气很好。", "en_d": "我喜欢喝咖啡。"}
FOUND = {"en_c": "今天天气好。", "en_d": "我喜欢喝茶。"}


def score_set(root: Path, *words: str) -> dict[str, Any]:
    """Score two Chinese sentences."""
    write_table(root / "test/text", REFERENCES)
    write_table(root / "test/utt2lang", dict.fromkeys(REFERENCES, "en"))
    decoded = root / "exp/st_e5/decode_test_beam4"
    write_table(decoded / "text", FOUND)
    score.main(["--hyp_dir", str(decoded), "--data_dir", str(root / "test"), "--target_lang", "zh", *words])
    return read_json(score_path(decoded))


def test_the_tokenizer_replaces_that_of_the_target_and_is_in_the_signature(tmp_path: Path) -> None:
    usual = score_set(tmp_path)
    report = score_set(tmp_path, "--bleu_tokenizer", "char")
    # `sacrebleu ref -i hyp -m bleu --tokenize char -b -w 4` (2.6.0)
    assert report["bleu"] == pytest.approx(48.4069, abs=1e-4) and "tok:char" in report["signature"]
    assert report["bleu_tokenizer"] == "char" and "bleu_tokenizer" not in usual and "tok:zh" in usual["signature"]
    assert report["per_language"]["en"]["signature"] == report["signature"]


def test_an_unknown_tokenizer_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BLEU of Chinese: unknown tokenizer 'moses', expected one of none, zh, 13a, "):
        score_set(tmp_path, "--bleu_tokenizer", "moses")


def test_scores_of_two_tokenizers_have_tables_of_their_own(tmp_path: Path) -> None:
    usual = score_set(tmp_path)
    score_set(tmp_path, "--bleu_tokenizer", "char")
    write_json(score_path(tmp_path / "exp/st_e6/decode_test_beam4"), usual)
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert page.index("## Translation, BLEU with the tokenizer char\n") < page.index("tok:char")
    assert page.index("## Translation\n") < page.index("tok:zh")


def rescore(experiment: Experiment, row: str, seed: int) -> None:
    """Score a run again with another tokenizer."""
    decoded = experiment.root / f"exp/{row}.{seed}/decode_test_beam4"
    words = ["--control_dir", f"{decoded}_control", "--data_dir", str(experiment.root / "dump/test")]
    score.main(["--hyp_dir", str(decoded), *words, "--bleu_tokenizer", "intl"])


def test_a_seed_with_another_tokenizer_is_missing_in_the_mean(experiment: Experiment) -> None:
    for seed in (1, 2):
        experiment.add("e6", 0.1, seed)
    rescore(experiment, "e6", 2)
    row = row_of(experiment.table("e6", seeds="1 2"), "e6")
    assert list(row["by_seed"]) == ["1"] and row["bleu"] == row["by_seed"]["1"]["bleu"]
    assert row["missing"] == {"2": "BLEU has the tokenizer intl, that of seed 1 13a; run stage score again"}


def test_rows_with_different_tokenizers_have_no_difference_and_judge_no_claim(experiment: Experiment) -> None:
    experiment.add("e6", 0.1)
    experiment.add("e5", 0.4)
    rescore(experiment, "e5", 1)
    row = row_of(experiment.table("e6 e5"), "e5")
    assert "difference" not in row and row["differs"] == ["scoring"] and row["bleu_tokenizer"] == "intl"
    assert (
        "no seed, no test set or no scoring in common" not in experiment.claims()
    )  # e6 against the best of the others
    assert "no score of another system" in experiment.claims()
    rescore(experiment, "e6", 1)
    assert row_of(experiment.table("e6 e5"), "e5")["difference"]["mean"] < 0
