"""Picture of scores: that which ranks, with its interval and the control, a bar for each row.

table.json, or score.json of one decoded set -> figure
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speechllama.report.decoded_set import expand_targets
from speechllama.text.targets import TARGETS
from speechllama.text.tasks import DEFAULT_TASK, Metric, task_of

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

    scored = [row for row in table["rows"] if "task" in row]
    first = [row for row in scored if row["row"] == table["reference"]] or scored or [{"task": DEFAULT_TASK}]
    metric = task_of(first[0]).ranks_by
    rows = [row for row in table["rows"] if metric.name in row]
    has_sets = "sets" in table

    def part_of(row: Mapping[str, Any]) -> tuple[str, str]:
        return str(row.get("part", "")), str(row["set"]) if has_sets else ""

    names = dict.fromkeys(map(part_of, rows)) or {("", ""): None}
    figure = Figure(figsize=(7, 1.2 * len(names) + 0.4 * len(rows)), layout="constrained")
    # Scores of different target languages or test sets have axes of their own: they are not to be compared.
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(len(names), 1, number)
        legend = draw_rows(axes, [row for row in rows if part_of(row) == name], metric, table["reference"])
        axes.set_xlabel(f"{metric.in_words}; {', '.join(dict.fromkeys([f'orange: {orange}', *legend]))}")
        part, test_set = name
        title = [*([f"into {TARGETS[part].language}"] if part else []), *([test_set] if test_set else [])]
        if title:
            axes.set_title(", ".join(title))
    return figure


def draw_rows(axes: Any, rows: Sequence[Mapping[str, Any]], metric: Metric, reference: str) -> list[str]:
    """Draw a bar for each row, and say for the legend what else is drawn."""
    legend = []
    for place, row in enumerate(rows):
        color = "tab:orange" if row["row"] == reference else "tab:blue"
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
    return legend


def languages_table(report: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a score.json out as a table whose rows are all languages together, and each by itself."""
    rows = []
    for part in expand_targets(report):
        common: dict[str, Any] = {key: part[key] for key in ("task", "ranks_by") if key in part}
        common |= {"part": part["target"]} if "per_target" in report else {}
        rows.append({**part, **common, "row": ALL_LANGUAGES})
        languages = sorted(part.get("per_language", {}).items())
        rows += [{**scores, **common, "row": name} for name, scores in languages]
    return {"reference": ALL_LANGUAGES, "rows": rows}
