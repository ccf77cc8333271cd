"""Compute the rows of the table: runs -> the numbers of table.json.

    Run of each row and seed -> {"rows": [...], "claims": [...]}

Several seeds of a row are one: mean, and spread from the least to the greatest; each seed's own numbers are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechllama.faults import InputError
from speechllama.report.table.claims import judge_claims
from speechllama.report.table.run import Run, find_differences
from speechllama.report.table.significance import (
    Difference,
    interval,
    is_tested,
    mean_over_seeds,
    paired_p_values,
    resample_score,
)
from speechllama.text.targets import DEFAULT_TARGET
from speechllama.text.tasks import Task
from speechllama.text.tasks import task_of as task_of_report

KEPT = ("beam_size", "commit", "device", "num_utterances", "warning")  # of score.json


class Runs:
    """All runs of the table, by row and seed, and the resamples of those whose task compares systems."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.by_name = {(run.row, run.seed): run for run in runs}
        self.resample = cache(self._resample)

    def _resample(self, row: str, seed: int) -> NDArray[np.float64]:
        run = self.by_name[row, seed]
        assert run.pairs is not None
        return resample_score(run.pairs, task_of(run), target_of(run))

    def of(self, row: str) -> dict[int, Run]:
        """The runs of a row that have a score, by seed."""
        return {seed: run for (name, seed), run in self.by_name.items() if name == row and not run.missing}

    def missing(self, row: str) -> dict[int, str]:
        """Why the others of the row have none, by seed."""
        return {seed: run.missing for (name, seed), run in self.by_name.items() if name == row and run.missing}

    def compare(self, row: str, other: str) -> Difference | None:
        """The score that ranks of a row less that of another; None where they have no seed or no test set in common."""
        ours, theirs = self.of(row), self.of(other)
        seeds = [seed for seed in ours if seed in theirs and are_comparable(ours[seed], theirs[seed])]
        if not seeds:
            return None
        name = task_of(ours[seeds[0]]).ranks_by.name
        by_seed = {seed: ours[seed].report[name] - theirs[seed].report[name] for seed in seeds}
        values = [self.resample(row, seed) - self.resample(other, seed) for seed in seeds]
        low, high = interval(mean_over_seeds(values))
        return Difference(float(np.mean(list(by_seed.values()))), low, high, by_seed)


def task_of(run: Run) -> Task:
    """The task of a run that has a score, ranked as its languages need it."""
    return task_of_report(run.report)


def target_of(run: Run) -> str:
    """The language that a run writes; scores of older versions do not say it."""
    return str(run.report.get("target", DEFAULT_TARGET))


def are_comparable(run: Run, other: Run) -> bool:
    """Whether both do the same on the same utterances, and there is a test for it."""
    if run.pairs is None or other.pairs is None or not is_tested(task_of(run)):
        return False
    ours, theirs = ((task_of(each), target_of(each)) for each in (run, other))
    same_set = (run.pairs.utterances, run.pairs.references) == (other.pairs.utterances, other.pairs.references)
    return ours == theirs and same_set


def build_table(runs: Sequence[Run], rows: Sequence[str], reference: str) -> dict[str, Any]:
    """Make the table; of several target languages a part for each, which share no mean and no difference.

    Args:
        runs: Each row with each seed.
        rows: The rows, in the order of the page.
        reference: The row that all others are compared with.

    Returns:
        What table.json holds.

    Raises:
        ValueError: The reference is not among the rows.
    """
    if reference not in rows:
        raise InputError(f"unknown reference {reference!r}, expected one of the rows {', '.join(rows)}")
    parts = sorted({run.part for run in runs if run.part})
    if not parts:
        return build_part(runs, rows, reference)
    # Runs with one target, such as those of recognition, are in the first part.
    tables = [
        build_part(
            [run for run in runs if run.part == part or run.missing or (not run.part and part == parts[0])],
            [row for row in rows if part == parts[0] or row == reference or has_part(runs, row, part)],
            reference,
        )
        for part in parts
    ]
    table: dict[str, Any] = {**tables[0], "seeds": sorted({run.seed for run in runs}), "rows": [], "claims": []}
    table["test"] = "; ".join(dict.fromkeys(each["test"] for each in tables if each["test"]))
    for part, each in zip(parts, tables, strict=True):
        scored = {row["row"] for row in each["rows"] if "task" in row and row.get("target") == part}
        shown = [row for row in each["rows"] if "task" in row or part == parts[0]]
        table["rows"] += [{**row, "part": part} if row["row"] in scored else row for row in shown]
        table["claims"] += [{**claim, "claim": f"{claim['claim']}, into {part}"} for claim in each["claims"]]
    return table


def has_part(runs: Sequence[Run], row: str, part: str) -> bool:
    """Whether a row has texts in a target language."""
    return any(run.row == row and run.part == part for run in runs)


def build_part(runs: Sequence[Run], rows: Sequence[str], reference: str) -> dict[str, Any]:
    """Make the table of runs with one target language; see `build_table`."""
    known = Runs(runs)
    p_values, signature = test_rows(known, rows, reference)
    lines = [summarize_row(known, row, reference, p_values.get(row, {})) for row in rows]
    return {
        "reference": reference,
        "seeds": sorted({run.seed for run in runs}),
        "test": signature,
        "rows": lines,
        "claims": judge_claims({line["row"]: line for line in lines}, known.compare),
    }


def test_rows(runs: Runs, rows: Sequence[str], reference: str) -> tuple[dict[str, dict[int, float | None]], str]:
    """p-value of every row and seed against the reference with that seed, and the test's signature."""
    found: dict[str, dict[int, float | None]] = {}
    signature = ""
    for seed, run in runs.of(reference).items():
        candidates = {row: runs.of(row).get(seed) for row in rows if row != reference}
        others = {row: other.pairs for row, other in candidates.items() if other and are_comparable(other, run)}
        if run.pairs is None or not others:
            continue
        known = {row: pairs for row, pairs in others.items() if pairs}
        deaf = [row for row in known if "warning" in run.report and "warning" in runs.of(row)[seed].report]
        for row in deaf:  # neither uses the audio: which is better is chance
            found.setdefault(row, {})[seed] = None
            del known[row]
        if not known:
            continue
        values, signature = paired_p_values(run.pairs, known, task_of(run), target_of(run))
        for row, value in values.items():
            found.setdefault(row, {})[seed] = value
    return found, signature


def summarize_row(runs: Runs, row: str, reference: str, p_values: Mapping[int, float | None]) -> dict[str, Any]:
    """One row: means and spreads over its seeds, the difference to the reference, each seed on its own."""
    scored, missing = runs.of(row), runs.missing(row)
    line: dict[str, Any] = {"row": row, "missing": {str(seed): why for seed, why in missing.items()}}
    if not scored:
        return line
    first = next(iter(scored.values()))
    line |= {key: first.report[key] for key in ("task", "set", "ranks_by", "target") if key in first.report}
    line |= average_scores(scored)
    for key in ("num_parameters", "num_trainable"):
        line[key] = first.report.get(key)
    line["compression_ratio"] = mean_of([run.facts["compression_ratio"] for run in scored.values()])
    line["num_updates"] = mean_of([count_updates(run) for run in scored.values()])
    line["per_language"] = average_languages(scored)
    line |= find_intervals(runs, row, scored)
    at_control = ", ".join(str(seed) for seed, run in scored.items() if "warning" in run.report)
    line["flags"] = [f"not better than its control (seed {at_control})"] if at_control else []
    line["differs"] = differences_of(runs, row, reference)
    difference = runs.compare(row, reference) if row != reference else None
    if difference:
        by_seed = {str(seed): value for seed, value in difference.by_seed.items()}
        line["difference"] = {**vars(difference), "by_seed": by_seed, "p_value": largest(p_values.values())}
    line["by_seed"] = {str(seed): describe_run(run, p_values.get(seed)) for seed, run in scored.items()}
    return line


def count_updates(run: Run) -> int | None:
    """Updates of all but the LLM: a system's own training, those it starts from, its CTC encoder's."""
    trainings = [record for name, record in run.facts["trainings"].items() if name != "LLM"]
    if not trainings or any("num_updates" not in record for record in trainings):
        return None
    return sum(record["num_updates"] for record in trainings)


def largest(p_values: Iterable[float | None]) -> float | None:
    """The p-value of all seeds together: the largest; a seed without one has equal scores, so nothing to show."""
    values = list(p_values)
    found = [value for value in values if value is not None]
    if not found:
        return None
    return max(found) if len(found) == len(values) else 1.0


def averaged_keys(task: Task) -> tuple[str, ...]:
    """The keys of score.json of which several seeds have a mean."""
    return (*(metric.name for metric in task.metrics), task.control, "rtf")


def average_scores(scored: Mapping[int, Run]) -> dict[str, float]:
    """Mean, least and greatest of every score over the seeds."""
    values: dict[str, float] = {}
    for key in averaged_keys(task_of(next(iter(scored.values())))):
        numbers = [run.report[key] for run in scored.values() if run.report.get(key) is not None]
        if numbers:
            values |= {key: float(np.mean(numbers)), f"{key}_min": min(numbers), f"{key}_max": max(numbers)}
    return values


def average_languages(scored: Mapping[int, Run]) -> dict[str, dict[str, float]]:
    """Mean of every language's scores over the seeds."""
    languages = sorted(set().union(*(run.report.get("per_language", {}) for run in scored.values())))
    keys = averaged_keys(task_of(next(iter(scored.values()))))
    found: dict[str, dict[str, float]] = {}
    for language in languages:
        parts = [run.report["per_language"].get(language, {}) for run in scored.values()]
        means = {key: mean_of([part.get(key) for part in parts]) for key in keys}
        found[language] = {key: value for key, value in means.items() if value is not None}
    return found


def interval_keys(task: Task) -> list[str]:
    """The keys of score.json with the ends of intervals."""
    return [f"{metric.name}_{end}" for metric in task.metrics if metric.has_interval for end in ("low", "high")]


def find_intervals(runs: Runs, row: str, scored: Mapping[int, Run]) -> dict[str, float]:
    """The 95 % intervals of a single seed as score.json has them; of several seeds that of the mean that ranks."""
    first = next(iter(scored.values()))
    task = task_of(first)
    if len(scored) == 1:
        return {key: first.report[key] for key in interval_keys(task) if key in first.report}  # older scores lack some
    if not is_tested(task):
        return {}
    low, high = interval(mean_over_seeds([runs.resample(row, seed) for seed in scored]))
    return {f"{task.ranks_by.name}_low": low, f"{task.ranks_by.name}_high": high}


def differences_of(runs: Runs, row: str, reference: str) -> list[str]:
    """What is not the same as in the reference, over all seeds; nothing where the task is another."""
    ours, theirs = runs.of(row), runs.of(reference)
    found: dict[str, None] = {}
    for seed in ours.keys() & theirs.keys():
        if ours[seed].report["task"] == theirs[seed].report["task"]:
            found |= dict.fromkeys(find_differences(ours[seed], theirs[seed]))
    return list(found)


def describe_run(run: Run, p_value: float | None) -> dict[str, Any]:
    """One seed's own numbers, with all that its records say."""
    task = task_of(run)
    keys = (*averaged_keys(task), *interval_keys(task), *task.signatures, *KEPT)
    scores = {key: run.report[key] for key in keys if key in run.report}
    return {**scores, **run.facts, "p_value": p_value, "identity": dict(run.identity)}


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the numbers among them."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
