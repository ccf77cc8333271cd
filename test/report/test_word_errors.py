"""WER as a metric of sacreBLEU: counts by hand, intervals and tests by plain loops over the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from speechllama.report.score import Pairs, pair, score_recognition
from speechllama.report.table.significance import paired_p_values, resample_score
from speechllama.report.word_errors import WordErrorRate
from speechllama.text.tasks import TASKS

ASR = TASKS["asr"]
# Reference, hypotheses of two systems, errors of each, words; counted by hand.
CASES = [
    ("the dog sleeps", "the dog sleeps", "the fog sleeps", 0, 1, 3),
    ("a cat", "", "a cat", 2, 0, 2),
    ("yes", "yes yes yes", "no", 2, 1, 1),
    ("it is a big red house", "it is big red mouse", "it is a big red house", 2, 0, 6),
    ("one two", "two one", "one", 2, 1, 2),
]


def pairs_of(column: int) -> Pairs:
    names = [f"u{index}" for index in range(len(CASES))]
    return Pairs(tuple(names), tuple(case[column] for case in CASES), tuple(case[0] for case in CASES))  # type: ignore[misc]


def rates(column: int, num_samples: int = 1000) -> np.ndarray:
    """WER of each resample, by a plain loop over sacreBLEU's draws."""
    draws = np.random.default_rng(12345).choice(len(CASES), size=(num_samples, len(CASES)), replace=True)
    errors = [int(case[column + 2]) for case in CASES]
    words = [int(case[5]) for case in CASES]
    return np.array([100.0 * sum(errors[i] for i in draw) / sum(words[i] for i in draw) for draw in draws])


def test_the_rate_and_its_interval_are_those_of_counts_and_draws_by_hand() -> None:
    score = score_recognition(pairs_of(1))
    assert score.wer == pytest.approx(100 * 8 / 14) and (score.num_word_errors, score.num_words) == (8, 14)
    sampled = np.sort(rates(1))
    half = (sampled[-26] - sampled[25]) / 2  # sacreBLEU's: a fortieth off each end, centred on the mean
    ends = [max(0.0, sampled.mean() - half), sampled.mean() + half]
    assert [score.wer_low, score.wer_high] == pytest.approx(ends, abs=1e-6)
    assert "bs:1000|seed:12345" in score.signature and "bs:1000|seed:12345" in score.wer_normalised_signature
    once = score_recognition(pairs_of(1), num_bootstrap=1)
    assert once.wer_low == once.wer_high == once.wer == score.wer and "bs:" not in once.signature


def test_resamples_of_systems_are_of_the_same_utterances_and_tested_in_pairs() -> None:
    one, other = rates(1), rates(2)
    assert resample_score(pairs_of(1), ASR) == pytest.approx(one, abs=1e-4)
    found, signature = paired_p_values(pairs_of(1), {"other": pairs_of(2)}, ASR)
    differences = np.abs(other - one)
    observed = abs(100 * 8 / 14 - 100 * 3 / 14)
    expected = (np.sum(differences - differences.mean() >= observed) + 1) / 1001  # the Moses script's test
    assert found["other"] == pytest.approx(expected)
    assert signature.startswith("nrefs:1|bs:1000|seed:12345|metric:WER|case:mixed|unit:white-space-word|version:")
    assert paired_p_values(pairs_of(1), {"same": pairs_of(1)}, ASR)[0] == {"same": None}


def test_normalised_texts_have_a_rate_of_their_own() -> None:
    references = {"a": "MISTER SMITH'S HERE", "b": "Zwei."}
    hypotheses = {"a": "Mr. Smith is here.", "b": "zwei"}
    languages = {"a": "en", "b": "de"}
    score = score_recognition(pair(hypotheses, references, languages=languages))
    assert (score.wer, score.wer_normalised) == (pytest.approx(100 * 5 / 4), 0.0)
    assert "whisper-english-spelling-kept+whisper-basic" in score.wer_normalised_signature
    unknown = score_recognition(pair(hypotheses, references))  # "mister smith s here": of no known language
    assert unknown.wer_normalised == pytest.approx(100 * 2 / 5)


def test_a_reference_without_words_is_an_error_only_if_something_was_written() -> None:
    metric = WordErrorRate()
    assert metric.corpus_score(["", "a"], [["", "a"]]).score == 0.0
    assert metric.corpus_score([""], [[""]]).score == 0.0
    assert metric.corpus_score(["a b"], [[""]]).score == 100.0
