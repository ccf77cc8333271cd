"""Draw the scores: that which ranks, with its interval and the control, a bar for each row.

table.json -> scores.svg
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechllama.text.targets import TARGETS
from speechllama.text.tasks import DEFAULT_TASK, Metric, task_of

SEEDS_BELOW = 0.22  # of a row's height


def draw_scores(table: Mapping[str, Any], path: str | Path) -> None:
    """Draw every row that has the score by which the reference's task ranks; the same table gives the same bytes.

    Args:
        table: What table.json holds.
        path: The SVG to write, atomically.
    """
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    scored = [row for row in table["rows"] if "task" in row]
    first = [row for row in scored if row["row"] == table["reference"]] or scored or [{"task": DEFAULT_TASK}]
    metric = task_of(first[0]).ranks_by
    rows = [row for row in table["rows"] if metric.name in row]
    names = dict.fromkeys(str(row.get("part", "")) for row in rows) or {"": None}
    figure = Figure(figsize=(7, 1.2 * len(names) + 0.4 * len(rows)), layout="constrained")
    # Scores of different target languages have axes of their own: they are not to be compared.
    for number, part in enumerate(names, 1):
        axes = figure.add_subplot(len(names), 1, number)
        draw_rows(axes, [row for row in rows if row.get("part", "") == part], metric, table["reference"])
        if part:
            axes.set_title(f"into {TARGETS[part].language}")
    path = Path(path)
    partial = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with matplotlib.rc_context({"svg.hashsalt": "speechllama"}):
        figure.savefig(partial, format="svg", metadata={"Date": None})
    partial.replace(path)


def draw_rows(axes: Any, rows: Sequence[Mapping[str, Any]], metric: Metric, reference: str) -> None:
    """Draw a bar for each row."""
    for place, row in enumerate(rows):
        color = "tab:orange" if row["row"] == reference else "tab:blue"
        axes.barh(place, row[metric.name], color=color, alpha=0.7)
        if f"{metric.name}_low" in row:
            axes.hlines(place, row[f"{metric.name}_low"], row[f"{metric.name}_high"], color="black")
        seeds = [run[metric.name] for run in row["by_seed"].values()]
        if len(seeds) > 1:
            below = [place + SEEDS_BELOW] * len(seeds)  # next to the interval's line, which would hide them
            axes.plot(seeds, below, "o", color="white", markeredgecolor="black", markersize=4)
        if f"control_{metric.name}" in row:
            axes.plot(row[f"control_{metric.name}"], place, "rx")
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric.in_words}; orange: reference, line: 95 % interval, dots: seeds, cross: control")
