"""Draw the scores: BLEU with its interval and the control, a bar for each row.

table.json -> scores.svg
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEEDS_BELOW = 0.22  # of a row's height


def draw_scores(table: Mapping[str, Any], path: str | Path) -> None:
    """Draw every row that has BLEU; the same table gives the same bytes.

    Args:
        table: What table.json holds.
        path: The SVG to write, atomically.
    """
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    rows = [row for row in table["rows"] if "bleu" in row]
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        color = "tab:orange" if row["row"] == table["reference"] else "tab:blue"
        axes.barh(place, row["bleu"], color=color, alpha=0.7)
        axes.hlines(place, row["bleu_low"], row["bleu_high"], color="black")
        seeds = [run["bleu"] for run in row["by_seed"].values()]
        if len(seeds) > 1:
            below = [place + SEEDS_BELOW] * len(seeds)  # next to the interval's line, which would hide them
            axes.plot(seeds, below, "o", color="white", markeredgecolor="black", markersize=4)
        if "control_bleu" in row:
            axes.plot(row["control_bleu"], place, "rx")
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("BLEU; orange: reference, line: 95 % interval, dots: seeds, cross: control")
    path = Path(path)
    partial = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with matplotlib.rc_context({"svg.hashsalt": "speechllama"}):
        figure.savefig(partial, format="svg", metadata={"Date": None})
    partial.replace(path)
