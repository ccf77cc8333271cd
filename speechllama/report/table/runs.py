"""The runs of a table, by row and seed: which of them may be compared or averaged, and by how much they differ.

Runs of each row and seed -> means over seeds of like scores, differences between rows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from speechllama.report.table.run import Run
from speechllama.report.table.significance import Difference, interval, mean_over_seeds, resample_score
from speechllama.text.targets import Target, scored_target
from speechllama.text.tasks import Metric, Task
from speechllama.text.tasks import task_of as task_of_report


class Runs:
    """All runs of the table, by row and seed, and the resamples of those whose task compares systems."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.by_name = {(run.row, run.seed): run for run in drop_other_tokenizers(runs)}
        self.resample = cache(self._resample)

    def _resample(self, row: str, seed: int, metric: Metric) -> NDArray[np.float64]:
        run = self.by_name[row, seed]
        assert run.pairs is not None
        return resample_score(run.pairs, task_of(run), target_of(run), metric)

    def of(self, row: str) -> dict[int, Run]:
        """The runs of a row that have a score, by seed."""
        return {seed: run for (name, seed), run in self.by_name.items() if name == row and not run.missing}

    def missing(self, row: str) -> dict[int, str]:
        """Why the others of the row have none, by seed."""
        return {seed: run.missing for (name, seed), run in self.by_name.items() if name == row and run.missing}

    def compare(self, row: str, other: str, metric: Metric | None = None) -> Difference | None:
        """A score of a row less that of another; None where they have no seed or no test set in common.

        Args:
            row: The one row.
            other: The other.
            metric: One that both are compared by; None: the one that ranks.
        """
        ours, theirs = self.of(row), self.of(other)
        seeds = [seed for seed in ours if seed in theirs and are_comparable(ours[seed], theirs[seed], metric)]
        if not seeds:
            return None
        metric = metric or task_of(ours[seeds[0]]).ranks_by
        by_seed = {seed: ours[seed].report[metric.name] - theirs[seed].report[metric.name] for seed in seeds}
        values = [self.resample(row, seed, metric) - self.resample(other, seed, metric) for seed in seeds]
        low, high = interval(mean_over_seeds(values))
        return Difference(float(np.mean(list(by_seed.values()))), low, high, by_seed)


def drop_other_tokenizers(runs: Sequence[Run]) -> list[Run]:
    """Count a seed as missing whose BLEU has another tokenizer than the row's first: the two have no mean."""
    first: dict[str, Run] = {}
    kept = []
    for run in runs:
        if not run.missing:
            other = first.setdefault(run.row, run)
            found, expected = (target_of(each).bleu_tokenizer for each in (run, other))
            if task_of(run).is_translation and found != expected:
                why = f"BLEU has the tokenizer {found}, that of seed {other.seed} {expected}; run stage score again"
                run = replace(run, missing=why)
        kept.append(run)
    return kept


def task_of(run: Run) -> Task:
    """The task of a run that has a score, ranked as its languages need it."""
    return task_of_report(run.report)


def target_of(run: Run) -> Target:
    """The language that a run writes, with BLEU's tokenizer."""
    return scored_target(run.report)


def are_comparable(run: Run, other: Run, metric: Metric | None = None) -> bool:
    """Whether both do the same on the same utterances, are scored alike, and there is a test for it.

    Args:
        run: The one run.
        other: The other.
        metric: The score; None: the one that ranks.
    """
    if run.pairs is None or other.pairs is None:
        return False
    task = task_of(run)
    if (metric or task.ranks_by) not in task.compared:
        return False
    ours, theirs = ((task_of(each), target_of(each)) for each in (run, other))
    same_set = (run.pairs.utterances, run.pairs.references) == (other.pairs.utterances, other.pairs.references)
    return ours == theirs and same_set and (metric is None or share_signature((run, other), metric))


def share_signature(runs: Sequence[Run], metric: Metric) -> bool:
    """Whether all of some runs have a score, and it is of the same program and model where another one gave it."""
    names = {run.report.get(task_of(run).signature(metric)) for run in runs}
    if any(metric.name not in run.report for run in runs):
        return False
    return not metric.of_segments or len(names) == 1


def averaged_metrics(scored: Mapping[int, Run]) -> list[Metric]:
    """The metrics of which a row's seeds have a mean."""
    runs = list(scored.values())
    return [
        metric
        for metric in task_of(runs[0]).metrics
        if (share_signature(runs, metric) if metric.of_segments else any(metric.name in run.report for run in runs))
    ]
