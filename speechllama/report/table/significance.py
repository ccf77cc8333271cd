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
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest, Result

from speechllama.faults import InputError
from speechllama.report.score import NUM_BOOTSTRAP, Pairs
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import BLEU as BLEU_METRIC
from speechllama.text.tasks import Task


@dataclass(frozen=True)
class Difference:
    """BLEU of a row less that of another, over the seeds that both have.

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
    """Whether systems of a task are compared by resampling: the paired test here is of BLEU."""
    return task.ranks_by == BLEU_METRIC


def paired_p_values(
    reference: Pairs, others: Mapping[str, Pairs], target: str = DEFAULT_TARGET
) -> tuple[dict[str, float | None], str]:
    """Test each system against the reference with sacreBLEU's own paired bootstrap test of BLEU.

    Args:
        reference: The system all others are compared with.
        others: Other systems on the same utterances, by name.
        target: The language that all of them write.

    Returns:
        p-values by name, and the signature of the test. A system with the reference's very BLEU has None: the test
        calls even that a difference (sacreBLEU attributes no zero to chance).

    Raises:
        ValueError: A system has other utterances or references; it is named.
    """
    for name, pairs in others.items():
        if (pairs.utterances, pairs.references) != (reference.utterances, reference.references):
            raise InputError(f"{name}: its {len(pairs.utterances)} utterances are not those of the reference")
    systems: list[tuple[str, Sequence[str]]] = [("", list(reference.hypotheses))]
    systems += [(name, list(pairs.hypotheses)) for name, pairs in others.items()]
    metric = BLEU(tokenize=TARGETS[target].bleu_tokenizer)
    test = PairedTest(systems, {"BLEU": metric}, [list(reference.references)], test_type="bs", n_samples=NUM_BOOTSTRAP)
    signatures, scores = test()
    found: dict[str, float | None] = dict.fromkeys(others)
    first = scores["BLEU"][0]
    for name, result in zip(others, scores["BLEU"][1:], strict=True):
        assert isinstance(result, Result) and isinstance(first, Result)
        if result.score != first.score:
            found[name] = result.p_value
    return found, str(signatures["BLEU"])


def resample_bleu(pairs: Pairs, target: str = DEFAULT_TARGET, num_samples: int = NUM_BOOTSTRAP) -> NDArray[np.float64]:
    """BLEU of as many resamples of the utterances; the same utterances for every system of a test set.

    Args:
        pairs: The texts.
        target: The language they are in.
        num_samples: Resamples.

    Returns:
        BLEU, 0 to 100 (num_samples,).
    """
    metric = BLEU(tokenize=TARGETS[target].bleu_tokenizer)
    statistics = metric._extract_corpus_statistics(list(pairs.hypotheses), [list(pairs.references)])
    table = np.array(statistics, dtype="float32")  # as sacreBLEU has them
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    random = np.random.default_rng(None if seed.lower() == "none" else int(seed))
    draws = random.choice(len(table), size=(num_samples, len(table)), replace=True)
    return np.array([metric._compute_score_from_stats(table[draw].sum(0)).score for draw in draws])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def mean_over_seeds(resamples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of several seeds in every resample."""
    return np.mean(np.stack(list(resamples)), axis=0)
