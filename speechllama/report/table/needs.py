"""What a row needs so that claims are judged by it: to be better than its control, and trained to its budget.

Runs of a row, by seed -> what is not fulfilled, in words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechllama.report.table.run import Run
from speechllama.report.table.runs import task_of

AT_CONTROL, NO_CONTROL = "not better than its control", "no control"


def find_unmet(scored: Mapping[int, Run]) -> list[str]:
    """Say what a row lacks.

    Args:
        scored: Its runs that have a score, by seed.

    Returns:
        A phrase for each need, with the seeds; none where claims can be judged by the row.
    """
    found: dict[str, list[int]] = {}
    for seed, run in scored.items():
        for phrase in (*_control(run), *_budget(run.facts["trainings"])):
            found.setdefault(phrase, []).append(seed)
    return [f"{phrase} (seed {', '.join(map(str, seeds))})" for phrase, seeds in found.items()]


def _control(run: Run) -> list[str]:
    if "warning" in run.report:
        return [AT_CONTROL]
    return [] if task_of(run).control in run.report else [NO_CONTROL]


def _budget(trainings: Mapping[str, Any]) -> list[str]:
    """Name the trainings that ended before the epochs of their YAML; older records do not tell."""
    short = []
    for name, record in trainings.items():
        done, budget = record.get("num_epochs"), record.get("max_epoch")
        if done is not None and budget is not None and done < budget:
            of = "" if name == "own" else f" of {name}"
            short.append(f"{done} of {budget} epochs trained{of}")
    return short
