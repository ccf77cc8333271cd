"""Significance of the difference between two systems, on the same utterances.

    Pairs, Pairs -> p-value (sacreBLEU's paired bootstrap test), interval of the difference

All resamples draw the same utterances for all systems, as sacreBLEU's test does, with its seed (SACREBLEU_SEED, 12345).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sacrebleu.significance import PairedTest, Result

from speechllama.faults import InputError
from speechllama.report.score import NUM_BOOTSTRAP, Pairs
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, Target
from speechllama.text.tasks import DEFAULT_TASK, TASKS, Metric, Task


@dataclass(frozen=True)
class Difference:
    """A score of a row less that of another, over the seeds that both have.

    Attributes:
        mean: Mean over the seeds.
        low: Lower end of its 95 % interval (utterances resampled, the seeds kept).
        high: Upper end.
        by_seed: The difference of every seed.
    """

    mean: float
    low: float
    high: float
    by_seed: dict[int, float]


def is_tested(task: Task) -> bool:
    """Whether systems of a task are compared by resampling."""
    return bool(task.compared_by)


def paired_p_values(
    reference: Pairs,
    others: Mapping[str, Pairs],
    task: Task = TASKS[DEFAULT_TASK],
    target: Target = TARGETS[DEFAULT_TARGET],
    metric: Metric | None = None,
) -> tuple[dict[str, float | None], str]:
    """Test each system against the reference with sacreBLEU's own paired bootstrap test.

    Args:
        reference: The system all others are compared with.
        others: Other systems on the same utterances, by name.
        task: What all of them do.
        target: The language that translations are in.
        metric: What is tested, one of `task.compared`; None: the score that ranks.

    Returns:
        p-values by name, and the signature of the test. A system with the reference's very score has None: the test
        calls even that a difference (sacreBLEU attributes no zero to chance).

    Raises:
        ValueError: A system has other utterances or references; it is named.
    """
    for name, pairs in others.items():
        if (pairs.utterances, pairs.references) != (reference.utterances, reference.references):
            raise InputError(f"{name}: its {len(pairs.utterances)} utterances are not those of the reference")
    metric = metric or task.ranks_by
    read = {name: compared_texts(pairs, metric) for name, pairs in {"": reference, **others}.items()}
    systems: list[tuple[str, Sequence[str]]] = [(name, list(pairs.hypotheses)) for name, pairs in read.items()]
    metrics = {task.name: task.make_compared(metric, target)}
    test = PairedTest(systems, metrics, [list(read[""].references)], test_type="bs", n_samples=NUM_BOOTSTRAP)
    signatures, scores = test()
    found: dict[str, float | None] = dict.fromkeys(others)
    ((name, signature),) = signatures.items()  # named as the metric names its score
    first, *rest = scores[name]
    for name, result in zip(others, rest, strict=True):
        assert isinstance(result, Result) and isinstance(first, Result)
        if result.score != first.score:
            found[name] = result.p_value
    return found, str(signature)


def compared_texts(pairs: Pairs, metric: Metric) -> Pairs:
    """What the metric reads: the texts, or scores of utterances in their place."""
    return pairs.of_segments(metric.name) if metric.of_segments else pairs


def resample_score(
    pairs: Pairs,
    task: Task = TASKS[DEFAULT_TASK],
    target: Target = TARGETS[DEFAULT_TARGET],
    metric: Metric | None = None,
) -> NDArray[np.float64]:
    """The score of 1,000 resamples of the utterances; the same ones for every system of a test set.

    Args:
        pairs: The texts.
        task: What was done.
        target: The language that translations are in.
        metric: The score, one of `task.compared`; None: the one that ranks.

    Returns:
        The scores (1000,).
    """
    metric = metric or task.ranks_by
    scorer, read = task.make_compared(metric, target), compared_texts(pairs, metric)
    statistics = scorer._extract_corpus_statistics(list(read.hypotheses), [list(read.references)])
    table = np.array(statistics, dtype="float32")  # as sacreBLEU has them
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    random = np.random.default_rng(None if seed.lower() == "none" else int(seed))
    draws = random.choice(len(table), size=(NUM_BOOTSTRAP, len(table)), replace=True)
    return np.array([scorer._compute_score_from_stats(table[draw].sum(0)).score for draw in draws])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def mean_over_seeds(resamples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of several seeds in every resample."""
    return np.mean(np.stack(list(resamples)), axis=0)
