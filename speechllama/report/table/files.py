"""Where the table is written.

<exp_dir>/table/{table.json, scores.svg}, <exp_dir>/CLAIMS.md; its part of RESULTS.md: report/results.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllama.files import atomic_write, write_json
from speechllama.report.table.build import build_table
from speechllama.report.table.figure import draw_scores
from speechllama.report.table.page import format_claims
from speechllama.report.table.run import read_run


def table_path(exp_dir: str | Path) -> Path:
    """Name the table for programs."""
    return Path(exp_dir) / "table" / "table.json"


def figure_path(exp_dir: str | Path) -> Path:
    """Name the figure of the scores."""
    return table_path(exp_dir).with_name("scores.svg")


def claims_path(exp_dir: str | Path) -> Path:
    """Name the page of claims."""
    return Path(exp_dir) / "CLAIMS.md"


def write_table_files(
    exp_dir: str | Path, rows: Sequence[str], seeds: Sequence[int], reference: str, title: str
) -> dict[str, Any]:
    """Read all runs and write table.json, the figure and the claims.

    Args:
        exp_dir: The recipe's directory of experiments.
        rows: Names of the rows, in the order of the page.
        seeds: Seeds of each.
        reference: The row that all others are compared with.
        title: Of the recipe.

    Returns:
        The table.

    Raises:
        ValueError: The reference is not among the rows, or a row's files do not fit each other.
    """
    folder = table_path(exp_dir).parent
    runs = [read_run(folder, row, seed) for row in rows for seed in seeds]
    table = build_table(runs, rows, reference)
    folder.mkdir(parents=True, exist_ok=True)
    draw_scores(table, figure_path(exp_dir))
    with atomic_write(claims_path(exp_dir)) as stream:
        stream.write(format_claims(table, title))
    write_json(table_path(exp_dir), table)
    return table
