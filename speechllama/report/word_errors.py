"""Word error rate as a metric of sacreBLEU, which then resamples and tests it as it does BLEU.

texts, references -> errors and words of each utterance -> WER in percent, its 95 % interval, paired tests
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jiwer
from sacrebleu.metrics.base import Metric, Score, Signature

NAME = "WER"


class WordErrorScore(Score):
    """WER in percent (above 100 with many insertions), with the counts it is the quotient of."""

    def __init__(self, num_errors: int, num_words: int) -> None:
        rate = num_errors / num_words if num_words else float(num_errors > 0)
        super().__init__(NAME, 100.0 * rate)
        self.num_errors, self.num_words = num_errors, num_words


class WordErrorSignature(Signature):
    """What the rate depends on."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__(args)
        self.info.update(metric=NAME, case="mixed", unit="white-space-word")


class WordErrorRate(Metric):
    """All errors (substitutions, deletions, insertions) over all words of the references.

    A text is compared as it is; words are what is between white space. The errors are jiwer's.
    """

    _SIGNATURE_TYPE = WordErrorSignature

    def _preprocess_segment(self, sent: str) -> str:
        return " ".join(sent.split())

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        (reference,) = refs
        return {"reference": reference}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        found = jiwer.process_words(ref_kwargs["reference"], hypothesis)
        return [found.substitutions + found.deletions + found.insertions, len(ref_kwargs["reference"].split())]

    def _compute_score_from_stats(self, stats: Sequence[Any]) -> WordErrorScore:
        num_errors, num_words = stats
        return WordErrorScore(round(float(num_errors)), round(float(num_words)))

    def _aggregate_and_compute(self, stats: Sequence[Sequence[int]]) -> WordErrorScore:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])
