"""Scores with 95 % intervals from resampled utterances: sacreBLEU's metric, Pairs -> score, lower end, upper end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sacrebleu.metrics.base import Metric

from speechllama.report.segments import SegmentMean

if TYPE_CHECKING:
    from speechllama.report.score import Pairs


def resampling_signature(num_bootstrap: int) -> str:
    """What a signature says of the resampling of an interval: "|bs:1000|seed:12345"; "" without one."""
    seed = os.environ.get("SACREBLEU_SEED", "12345").lower()
    return f"|bs:{num_bootstrap}|seed:{seed}" if num_bootstrap > 1 else ""


def score_resampled(metric: Metric, pairs: Pairs, num_bootstrap: int) -> tuple[float, float, float]:
    """Score with one of sacreBLEU's metrics.

    Args:
        metric: The metric; afterwards its signature names the resampling.
        pairs: At least one pair.
        num_bootstrap: Resamples of the interval; with 1 or less there is none.

    Returns:
        The score, and the ends of its 95 % interval; without resampling, three times the score.
    """
    score = metric.corpus_score(list(pairs.hypotheses), [list(pairs.references)], n_bootstrap=max(num_bootstrap, 1))
    # sacrebleu centres its interval on the mean of the resamples, not on the score.
    middle, half = (score._mean, score._ci) if num_bootstrap > 1 else (score.score, 0.0)
    return float(score.score), float(middle - half), float(middle + half)


def score_segments(
    pairs: Pairs, metric: str, num_bootstrap: int
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Give the mean of the scores that utterances have, times 100, with its interval; None without such scores."""
    if metric not in pairs.segments:
        return None, None, None
    return score_resampled(SegmentMean(), pairs.of_segments(metric), num_bootstrap)


def sign_segments(pairs: Pairs, metric: str, num_bootstrap: int) -> str | None:
    """Give the signature of that mean; None without such scores."""
    found = pairs.segments.get(metric)
    return found.signature + resampling_signature(num_bootstrap) if found else None
