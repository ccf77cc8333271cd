"""Word and character error rate as metrics of sacreBLEU, which then resamples and tests them as it does BLEU.

texts, references -> errors and words (or characters) of each utterance -> rate in percent, interval, paired tests
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jiwer
from sacrebleu.metrics.base import Metric, Score, Signature


class ErrorScore(Score):
    """An error rate in percent (above 100 with many insertions), with the counts it is the quotient of."""

    def __init__(self, name: str, num_errors: int, num_units: int) -> None:
        rate = num_errors / num_units if num_units else float(num_errors > 0)
        super().__init__(name, 100.0 * rate)
        self.num_errors, self.num_units = num_errors, num_units


class WordErrorSignature(Signature):
    """What the rate depends on."""

    name, unit = "WER", "white-space-word"

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__(args)
        self.info.update(metric=self.name, case="mixed", unit=self.unit)


class CharacterErrorSignature(WordErrorSignature):
    """The same of characters."""

    name, unit = "CER", "code-point-with-spaces"


class WordErrorRate(Metric):
    """All errors (substitutions, deletions, insertions) over all words of the references.

    A text is compared as it is; words are what is between white space. The errors are jiwer's.
    """

    _SIGNATURE_TYPE: type[WordErrorSignature] = WordErrorSignature

    def _preprocess_segment(self, sent: str) -> str:
        return " ".join(sent.split())

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        (reference,) = refs
        return {"reference": reference}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        return self._count(jiwer.process_words(ref_kwargs["reference"], hypothesis))

    def _count(self, found: jiwer.WordOutput | jiwer.CharacterOutput) -> list[int]:
        """Errors of an utterance, and units of its reference."""
        lost = found.substitutions + found.deletions
        return [lost + found.insertions, found.hits + lost]

    def _compute_score_from_stats(self, stats: Sequence[Any]) -> ErrorScore:
        num_errors, num_units = stats
        return ErrorScore(self._SIGNATURE_TYPE.name, round(float(num_errors)), round(float(num_units)))

    def _aggregate_and_compute(self, stats: Sequence[Sequence[int]]) -> ErrorScore:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


class CharacterErrorRate(WordErrorRate):
    """All errors over all characters of the references; every run of white space is one."""

    _SIGNATURE_TYPE = CharacterErrorSignature

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        return self._count(jiwer.process_characters(ref_kwargs["reference"], hypothesis))
