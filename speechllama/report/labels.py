"""Scores of labels: hypotheses, references -> accuracy with its interval, macro F1, which label was taken for which.

A hypothesis counts if it is the reference's text, white space at the ends aside. One that is no label of the set is
counted as unknown and is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics.base import Metric, Score, Signature

from speechllama.report.resampling import resampling_signature, score_resampled
from speechllama.report.score import NUM_BOOTSTRAP, Pairs
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, Target

MATCH = "match:exact-text"
UNKNOWN = "(no label)"  # in the table of confusions: a text that is no label of the set


@dataclass(frozen=True)
class LabelScore:
    """Scores of labels in percent.

    Attributes:
        accuracy: Share of the utterances whose label is right.
        accuracy_low: Lower end of its 95 % bootstrap interval.
        accuracy_high: Upper end.
        macro_f1: Mean over the labels of the references of their F1, the harmonic mean of precision and recall.
        signature: Of accuracy.
        macro_f1_signature: Of macro F1.
        num_utterances: Utterances.
        num_empty: Hypotheses without any text.
        num_unknown: Hypotheses that are no label of the references, empty ones included.
        confusion: Number of utterances by reference and hypothesis, with `UNKNOWN` for what is no label.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    signature: str
    macro_f1_signature: str
    num_utterances: int
    num_empty: int
    num_unknown: int
    confusion: dict[str, dict[str, int]]


class AccuracySignature(Signature):
    """What accuracy depends on."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__(args)
        self.info.update(metric="accuracy", match=MATCH.partition(":")[2])


class Accuracy(Metric):
    """The share of texts that are the reference's, in percent; as a metric of sacreBLEU it is resampled as BLEU is."""

    _SIGNATURE_TYPE = AccuracySignature

    def _preprocess_segment(self, sent: str) -> str:
        return sent.strip()

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        (reference,) = refs
        return {"reference": reference}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        return [int(hypothesis == ref_kwargs["reference"]), 1]

    def _compute_score_from_stats(self, stats: Sequence[Any]) -> Score:
        num_right, count = stats
        return Score("accuracy", 100.0 * float(num_right) / float(count))

    def _aggregate_and_compute(self, stats: Sequence[Sequence[int]]) -> Score:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


def accuracy_metric(target: Target) -> Accuracy:
    """Return accuracy; the target is not used."""
    return Accuracy()


def score_labels(
    pairs: Pairs, target: Target = TARGETS[DEFAULT_TARGET], num_bootstrap: int = NUM_BOOTSTRAP
) -> LabelScore:
    """Score labels.

    Args:
        pairs: At least one pair; the labels of the references are the closed set.
        target: Not used.
        num_bootstrap: Resamples of the interval; with 1 or less there is none, and the signature names none.

    Returns:
        The score; F1 is scikit-learn's.
    """
    from sklearn.metrics import f1_score  # takes a second to import

    accuracy, low, high = score_resampled(Accuracy(), pairs, num_bootstrap)
    references = [text.strip() for text in pairs.references]
    labels = sorted(set(references))
    found = [text.strip() if text.strip() in labels else UNKNOWN for text in pairs.hypotheses]
    confusion: dict[str, dict[str, int]] = {label: {} for label in labels}
    for reference, hypothesis in zip(references, found, strict=True):
        confusion[reference][hypothesis] = confusion[reference].get(hypothesis, 0) + 1
    f1 = f1_score(references, found, labels=labels, average="macro", zero_division=0.0)
    return LabelScore(
        accuracy=accuracy,
        accuracy_low=max(low, 0.0),
        accuracy_high=min(high, 100.0),
        macro_f1=100.0 * float(f1),
        signature=f"accuracy|{MATCH}{resampling_signature(num_bootstrap)}",
        macro_f1_signature=f"macro-F1|{MATCH}|labels:of-references|scikit-learn:{version('scikit-learn')}",
        num_utterances=len(references),
        num_empty=pairs.num_empty,
        num_unknown=found.count(UNKNOWN),
        confusion=confusion,
    )
