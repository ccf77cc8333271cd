"""Scores of single utterances that another program has given, such as COMET's.

<decode_dir>/comet.json {signature, scores by utterance} -> mean over utterances, resampled and tested as BLEU is
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacrebleu.metrics.base import Metric, Score, Signature

from speechllama.faults import InputError
from speechllama.files import read_json, write_json
from speechllama.text.targets import Target

SCALE = 100.0  # of a mean: scores of about 0 to 1 are written as those of BLEU are


@dataclass(frozen=True)
class SegmentScores:
    """What one program says of each utterance of a decoded set.

    Attributes:
        signature: The program, its version and its model, without the resampling.
        texts: `digest_texts` of what was scored.
        model: The model, as the user named it.
        scores: By utterance; a larger one is better.
    """

    signature: str
    texts: str
    model: str
    scores: Mapping[str, float]


def segments_path(decode_dir: str | Path, metric: str) -> Path:
    """Name the scores of a metric: <decode_dir>/comet.json."""
    return Path(decode_dir) / f"{metric}.json"


def write_segments(found: SegmentScores, decode_dir: str | Path, metric: str) -> None:
    """Write the scores of a decoded set."""
    write_json(segments_path(decode_dir, metric), asdict(found))


def read_segments(decode_dir: str | Path, metric: str, texts: str) -> SegmentScores | None:
    """Read the scores of a decoded set; None where it has none.

    Args:
        decode_dir: Its directory.
        metric: The metric's name.
        texts: `digest_texts` of the hypotheses and references that are there now.

    Raises:
        ValueError: They are of other texts.
    """
    path = segments_path(decode_dir, metric)
    if not path.is_file():
        return None
    found = SegmentScores(**read_json(path))
    if found.texts != texts:
        raise InputError(f"{path}: these scores are of other hypotheses or references; remove it, and score again")
    return found


def digest_texts(hypotheses: Iterable[str], references: Iterable[str]) -> str:
    """A fingerprint of hypotheses and references, in the order of the utterances."""
    content = hashlib.blake2b(digest_size=16)
    for text in (*hypotheses, *references):
        content.update(text.encode("utf-8") + b"\n")
    return content.hexdigest()


class SegmentSignature(Signature):
    """What the mean depends on; the program's own signature is next to it in score.json."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__(args)
        self.info.update(metric="segment-mean", nrefs=None)


class SegmentMean(Metric):
    """The mean of scores of utterances, times 100; its hypotheses are the scores as texts, its references are not read.

    As a metric of sacreBLEU, it is resampled and tested by the same code and with the same draws as BLEU.
    """

    _SIGNATURE_TYPE = SegmentSignature

    def _preprocess_segment(self, sent: str) -> str:
        return sent

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        return {}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
        return [float(hypothesis), 1.0]

    def _compute_score_from_stats(self, stats: Sequence[Any]) -> Score:
        total, count = stats
        return Score("segment mean", SCALE * float(total) / float(count))

    def _aggregate_and_compute(self, stats: Sequence[Sequence[float]]) -> Score:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


def segment_mean(target: Target) -> SegmentMean:
    """Return the mean over utterances; the target is not used."""
    return SegmentMean()
