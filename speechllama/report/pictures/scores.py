"""Picture of scores: that which ranks, with its interval and the control, a bar for each row.

table.json, or score.json of one decoded set -> figure
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speechllama.text.tasks import DEFAULT_TASK, TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS_BELOW = 0.22  # of a row's height
ALL_LANGUAGES = "all"


def draw_scores(table: Mapping[str, Any], orange: str = "reference") -> Figure:
    """Draw every row that has the score by which the reference's task ranks.

    Args:
        table: What table.json holds, or `languages_table` of one decoded set.
        orange: What the row is whose bar is orange, for the legend.
    """
    from matplotlib.figure import Figure

    tasks = {row["row"]: row["task"] for row in table["rows"] if "task" in row}
    metric = TASKS[tasks.get(table["reference"], next(iter(tasks.values()), DEFAULT_TASK))].ranks_by
    rows = [row for row in table["rows"] if metric.name in row]
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    legend = [f"orange: {orange}"]
    for place, row in enumerate(rows):
        color = "tab:orange" if row["row"] == table["reference"] else "tab:blue"
        axes.barh(place, row[metric.name], color=color, alpha=0.7)
        if f"{metric.name}_low" in row:
            axes.hlines(place, row[f"{metric.name}_low"], row[f"{metric.name}_high"], color="black")
            legend.append("line: 95 % interval")
        seeds = [run[metric.name] for run in row.get("by_seed", {}).values()]
        if len(seeds) > 1:
            below = [place + SEEDS_BELOW] * len(seeds)  # next to the interval's line, which would hide them
            axes.plot(seeds, below, "o", color="white", markeredgecolor="black", markersize=4)
            legend.append("dots: seeds")
        if f"control_{metric.name}" in row:
            axes.plot(row[f"control_{metric.name}"], place, "rx")
            legend.append("cross: control")
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric.in_words}; {', '.join(dict.fromkeys(legend))}")
    return figure


def languages_table(report: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a score.json out as a table whose rows are all languages together, and each by itself."""
    task = report["task"]
    rows = [{**part, "row": name, "task": task} for name, part in sorted(report.get("per_language", {}).items())]
    return {"reference": ALL_LANGUAGES, "rows": [{**report, "row": ALL_LANGUAGES}, *rows]}
