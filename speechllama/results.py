"""The results of a recipe on one page.

    exp/<system>/decode_*/score.json + exp/ctc*/report.json + exp/table/table.json -> exp/RESULTS.md

An experiment that is not finished gets its page too: the page then says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechllama.ctc_report import COMPRESSED_PREFIX, ctc_report_path
from speechllama.decoded_set import SCORE, score_path
from speechllama.files import atomic_write, read_json
from speechllama.results_page import Results, format_results
from speechllama.table.files import table_path
from speechllama.table.page import format_part

CONTROL_SUFFIX = "_control"


def results_path(exp_dir: str | Path) -> Path:
    """Name the page of results of a recipe."""
    return Path(exp_dir) / "RESULTS.md"


def find_decode_dirs(exp_dir: str | Path) -> list[Path]:
    """Find the decoding directories of all systems, without the controls, sorted."""
    found = [path for path in Path(exp_dir).glob("*/decode_*") if path.is_dir()]
    return sorted(path for path in found if not path.name.endswith(CONTROL_SUFFIX))


def find_ctc_dirs(exp_dir: str | Path) -> list[Path]:
    """Find the CTC experiments and their compressed sets: where a CTC report may lie, sorted."""
    exp_dir = Path(exp_dir)
    found = [*exp_dir.glob("ctc*"), *exp_dir.glob(f"ctc*/{COMPRESSED_PREFIX}*")]
    return sorted(path for path in found if path.is_dir())


def collect_results(exp_dir: str | Path) -> Results:
    """Read every score and CTC report of a recipe.

    Args:
        exp_dir: The recipe's directory of experiments.

    Returns:
        The reports, sorted by system; a report that cannot be read is among the missing.

    Raises:
        FileNotFoundError: There is no such directory.
    """
    exp_dir = Path(exp_dir)
    if not exp_dir.is_dir():
        raise FileNotFoundError(f"{exp_dir}: no such directory; run the recipe, or give its --exp_dir")
    missing: list[str] = []
    decode_dirs = find_decode_dirs(exp_dir)
    score_files = [score_path(path) for path in decode_dirs]
    scores = _read_reports(exp_dir, score_files, ["task", "signature"], missing)
    # A set that was decoded for a rescoring to be tuned on needs no score of its own.
    tuned_on = ["/".join(Path(report["tuned_on"]).parts[-2:]) for report in scores.values() if "tuned_on" in report]
    missing = [line for line in missing if line not in {f"{name}: no {SCORE}" for name in tuned_on}]
    ctc_files = [ctc_report_path(path) for path in find_ctc_dirs(exp_dir)]
    ctc_reports = _read_reports(exp_dir, [path for path in ctc_files if path.is_file()], ["sets"], missing)
    if not ctc_reports:
        missing.append("no CTC report")
    decoded = {path.parent for path in decode_dirs}
    systems = sorted(path.parent for path in exp_dir.glob("*/config.yaml"))
    for system in systems:
        if system not in decoded and not system.name.startswith(("ctc", "stats")):
            missing.append(f"{system.name}: no decoded set")
    if not scores:
        missing.append("no scored set")
    return Results(scores, ctc_reports, tuple(missing))


def _read_reports(
    exp_dir: Path, files: Sequence[Path], required: Sequence[str], missing: list[str]
) -> dict[str, dict[str, Any]]:
    """Read reports by their directory below exp_dir; those that are absent or damaged join the missing."""
    reports: dict[str, dict[str, Any]] = {}
    for file in files:
        name = file.parent.relative_to(exp_dir).as_posix()
        try:
            report = read_json(file)
        except FileNotFoundError:
            missing.append(f"{name}: no {file.name}")
            continue
        except ValueError as error:
            missing.append(f"{name}: {str(error).replace(str(exp_dir) + '/', '')}")
            continue
        absent = [key for key in required if key not in report]
        if absent:
            missing.append(f"{name}: {file.name} has no {', '.join(absent)}; write it again")
        else:
            reports[name] = report
    return reports


def find_newer_scores(exp_dir: str | Path) -> list[str]:
    """Name the rows of the table whose score is newer than the table."""
    table = table_path(exp_dir)
    made = table.stat().st_mtime
    runs = [(row["row"], run) for row in read_json(table)["rows"] for run in row.get("by_seed", {}).values()]
    files = [(row, score_path(run["decode_dir"])) for row, run in runs]
    newer = [(row, file) for row, file in files if file.is_file() and file.stat().st_mtime > made]
    return [f"{row} in the table: {file} is newer; run the recipe's run_table.sh again" for row, file in newer]


def write_results(exp_dir: str | Path, title: str = "Results") -> Results:
    """Write RESULTS.md from what is there.

    Args:
        exp_dir: The recipe's directory of experiments.
        title: The page's heading.

    Returns:
        What was found and what is missing.
    """
    results = collect_results(exp_dir)
    has_table = table_path(exp_dir).is_file()  # of many systems, which its own command writes
    if has_table:
        results = replace(results, missing=(*results.missing, *find_newer_scores(exp_dir)))
    page = format_results(results, title)
    if has_table:
        heading, _, rest = page.partition("\n\n")
        page = f"{heading}\n\n{format_part(read_json(table_path(exp_dir)))}\n{rest}"
    with atomic_write(results_path(exp_dir)) as stream:
        stream.write(page)
    return results
