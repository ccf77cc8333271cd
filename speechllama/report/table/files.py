"""Names of the files of the table.

<exp_dir>/table/{table.json, scores.svg}, <exp_dir>/CLAIMS.md; its part of RESULTS.md: report/results.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllama.figure import save_figure
from speechllama.files import atomic_write, write_json
from speechllama.report.pictures.scores import draw_scores
from speechllama.report.table.build import build_table
from speechllama.report.table.page import format_claims
from speechllama.report.table.run import RunPaths, read_runs


def table_path(exp_dir: str | Path) -> Path:
    """Name the table for programs."""
    return Path(exp_dir) / "table" / "table.json"


def figure_path(exp_dir: str | Path) -> Path:
    """Name the figure of the scores."""
    return table_path(exp_dir).with_name("scores.svg")


def claims_path(exp_dir: str | Path) -> Path:
    """Name the page of claims."""
    return Path(exp_dir) / "CLAIMS.md"


def write_table_files(exp_dir: str | Path, runs: Sequence[RunPaths], reference: str, title: str) -> dict[str, Any]:
    """Read all runs and write table.json, the figure and the claims.

    Args:
        exp_dir: The recipe's directory of experiments.
        runs: Where each row's files are, with each seed; rows come in the order of the page.
        reference: The row that all others are compared with.
        title: Of the recipe.

    Returns:
        The table.

    Raises:
        ValueError: The reference is not among the rows, or a row's files do not fit each other.
    """
    rows = list(dict.fromkeys(paths.row for paths in runs))
    table = build_table([run for paths in runs for run in read_runs(paths)], rows, reference)
    save_figure(draw_scores(table), figure_path(exp_dir))
    with atomic_write(claims_path(exp_dir)) as stream:
        stream.write(format_claims(table, title))
    write_json(table_path(exp_dir), table)
    return table
