"""Compute the rows of the table: runs -> the numbers of table.json.

    Run of each row and seed -> {"rows": [...], "claims": [...]}

Several seeds of a row are one: mean, and spread from the least to the greatest; each seed's own numbers are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from speechllama.faults import InputError
from speechllama.report.table.claims import judge_claims
from speechllama.report.table.needs import find_unmet
from speechllama.report.table.run import Run, find_differences
from speechllama.report.table.runs import Runs, are_comparable, averaged_metrics, target_of, task_of
from speechllama.report.table.significance import interval, mean_over_seeds, paired_p_values
from speechllama.text.tasks import Metric, Task

SAID = ("task", "set", "ranks_by", "target", "bleu_tokenizer")  # what a row takes from its first score.json
KEPT = ("beam_size", "commit", "device", "num_utterances", "warning")  # of score.json


def build_table(runs: Sequence[Run], rows: Sequence[str], reference: str) -> dict[str, Any]:
    """Make the table; each test set and each target language is a part, and parts share no mean and no difference.

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
    sets = list(dict.fromkeys(run.set_name for run in runs))
    if len(sets) < 2:
        return build_set(runs, rows, reference)
    tables = [build_set([run for run in runs if run.set_name == name], rows, reference) for name in sets]
    whole: dict[str, Any] = {**tables[0], "sets": sets, "rows": [], "claims": []}
    whole["test"] = "; ".join(dict.fromkeys(each["test"] for each in tables if each["test"]))
    for name, each in zip(sets, tables, strict=True):
        whole["rows"] += [{**row, "set": name} for row in each["rows"]]
        whole["claims"] += [{**claim, "claim": f"{claim['claim']}, on {name}"} for claim in each["claims"]]
    return whole


def build_set(runs: Sequence[Run], rows: Sequence[str], reference: str) -> dict[str, Any]:
    """Make the table of one test set; see `build_table`."""
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
    """Make the table of runs of one test set with one target language; see `build_table`."""
    known = Runs(runs)
    compared = dict.fromkeys(metric for run in known.of(reference).values() for metric in task_of(run).compared)
    tests = {metric: test_rows(known, rows, reference, metric) for metric in compared}
    lines = [
        summarize_row(known, row, reference, {metric: found.get(row, {}) for metric, (found, _) in tests.items()})
        for row in rows
    ]
    return {
        "reference": reference,
        "seeds": sorted({run.seed for run in runs}),
        "test": "; ".join(dict.fromkeys(signature for _, signature in tests.values() if signature)),
        "rows": lines,
        "claims": judge_claims({line["row"]: line for line in lines}, known.compare),
    }


def test_rows(
    runs: Runs, rows: Sequence[str], reference: str, metric: Metric
) -> tuple[dict[str, dict[int, float | None]], str]:
    """p-value of every row and seed against the reference with that seed, and the test's signature."""
    found: dict[str, dict[int, float | None]] = {}
    signature = ""
    for seed, run in runs.of(reference).items():
        candidates = {row: runs.of(row).get(seed) for row in rows if row != reference}
        others = {row: other.pairs for row, other in candidates.items() if other and are_comparable(other, run, metric)}
        if run.pairs is None or not others:
            continue
        known = {row: pairs for row, pairs in others.items() if pairs}
        deaf = [row for row in known if "warning" in run.report and "warning" in runs.of(row)[seed].report]
        for row in deaf:  # neither uses the audio: which is better is chance
            found.setdefault(row, {})[seed] = None
            del known[row]
        if not known:
            continue
        values, signature = paired_p_values(run.pairs, known, task_of(run), target_of(run), metric)
        for row, value in values.items():
            found.setdefault(row, {})[seed] = value
    return found, signature


def summarize_row(
    runs: Runs, row: str, reference: str, p_values: Mapping[Metric, Mapping[int, float | None]]
) -> dict[str, Any]:
    """One row: means and spreads over its seeds, the differences to the reference, each seed on its own."""
    scored, missing = runs.of(row), runs.missing(row)
    line: dict[str, Any] = {"row": row, "missing": {str(seed): why for seed, why in missing.items()}}
    if not scored:
        return line
    first = next(iter(scored.values()))
    line |= {key: first.report[key] for key in SAID if key in first.report}
    line |= average_scores(scored)
    for key in ("num_parameters", "num_trainable"):
        line[key] = first.report.get(key)
    line["compression_ratio"] = mean_of([run.facts["compression_ratio"] for run in scored.values()])
    line["num_updates"] = mean_of([count_updates(run) for run in scored.values()])
    line["per_language"] = average_languages(scored)
    line |= find_intervals(runs, row, scored)
    line["flags"] = find_unmet(scored)
    line["differs"] = differences_of(runs, row, reference)
    task = task_of(first)
    for metric in task.compared if row != reference else ():
        difference = runs.compare(row, reference, metric)
        if difference:
            by_seed = {str(seed): value for seed, value in difference.by_seed.items()}
            p_value = largest(p_values.get(metric, {}).values())
            found = {**vars(difference), "by_seed": by_seed, "p_value": p_value}
            if metric == task.ranks_by:
                line["difference"] = found
            else:
                line.setdefault("further_differences", {})[metric.name] = found
    own = p_values.get(task.ranks_by, {})
    line["by_seed"] = {str(seed): describe_run(run, own.get(seed)) for seed, run in scored.items()}
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


def averaged_keys(scored: Mapping[int, Run]) -> list[str]:
    """The keys of score.json of which the seeds of a row have a mean."""
    metrics = averaged_metrics(scored)
    task = task_of(next(iter(scored.values())))
    controls = [f"control_{metric.name}" for metric in (task.ranks_by, *task.compared) if metric in metrics]
    return [*(metric.name for metric in metrics), *dict.fromkeys(controls), "rtf"]


def average_scores(scored: Mapping[int, Run]) -> dict[str, float]:
    """Mean, least and greatest of every score over the seeds."""
    values: dict[str, float] = {}
    for key in averaged_keys(scored):
        numbers = [run.report[key] for run in scored.values() if run.report.get(key) is not None]
        if numbers:
            values |= {key: float(np.mean(numbers)), f"{key}_min": min(numbers), f"{key}_max": max(numbers)}
    return values


def average_languages(scored: Mapping[int, Run]) -> dict[str, dict[str, float]]:
    """Mean of every language's scores over the seeds."""
    languages = sorted(set().union(*(run.report.get("per_language", {}) for run in scored.values())))
    keys = averaged_keys(scored)
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
    """The 95 % intervals of a single seed as score.json has them; of several seeds those of means that are compared."""
    first = next(iter(scored.values()))
    task = task_of(first)
    if len(scored) == 1:
        return {key: first.report[key] for key in interval_keys(task) if key in first.report}  # older scores lack some
    found: dict[str, float] = {}
    for metric in [metric for metric in averaged_metrics(scored) if metric in task.compared]:
        low, high = interval(mean_over_seeds([runs.resample(row, seed, metric) for seed in scored]))
        found |= {f"{metric.name}_low": low, f"{metric.name}_high": high}
    return found


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
    metrics = [name for metric in task.metrics for name in (metric.name, f"control_{metric.name}")]
    keys = (*metrics, "rtf", *interval_keys(task), *task.signatures, *KEPT)
    scores = {key: run.report[key] for key in keys if key in run.report}
    return {**scores, **run.facts, "p_value": p_value, "identity": dict(run.identity)}


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the numbers among them."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
