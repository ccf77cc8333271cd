"""The results of a recipe on one page.

    exp/<system>/decode_*/score.json + exp/ctc*/report.json + exp/table/table.json
      -> exp/<system>/pictures/*.svg, exp/RESULTS.md

An experiment that is not finished gets its page too: the page then says what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from speechllama.faults import InputError, MissingFileError
from speechllama.files import atomic_write, read_json
from speechllama.markdown import format_signatures, format_table
from speechllama.report.ctc import (
    COMPRESSED_PREFIX,
    CTC_COLUMNS,
    collect_ctc_signatures,
    ctc_report_path,
    format_ctc_rows,
)
from speechllama.report.decoded_set import SCORE, expand_targets, find_decode_dirs, score_path
from speechllama.report.pictures.files import write_pictures
from speechllama.report.score_tables import (
    NONE,
    format_confusion,
    format_languages,
    format_rescoring,
    format_scores,
    group_scores,
)
from speechllama.report.table.files import table_path
from speechllama.report.table.page import format_part
from speechllama.text.runaway import describe_cut
from speechllama.text.tasks import NUM_WITHOUT, TASKS


@dataclass(frozen=True)
class Results:
    """What an experiment directory holds.

    Attributes:
        scores: Scores of decoded sets by their path below it.
        ctc_reports: Reports on CTC by theirs.
        missing: A line for each thing that is missing.
        pictures: Paths of the pictures of each system, below it.
        unscored: Reports of decoded sets without references.
    """

    scores: dict[str, dict[str, Any]]
    ctc_reports: dict[str, dict[str, Any]]
    missing: tuple[str, ...]
    pictures: dict[str, list[str]] = field(default_factory=dict)
    unscored: dict[str, dict[str, Any]] = field(default_factory=dict)


def format_results(results: Results, title: str = "Results") -> str:
    """Write the page of results.

    Args:
        results: From `collect_results`.
        title: The page's heading.

    Returns:
        Markdown; below each table of scores their signatures.
    """
    parts = [f"# {title}\n"]
    for heading, task, scores in group_scores(results.scores):
        parts.append(format_scores(heading, task, scores))
        ranks_by = task.ranks_by
        parts.append(f"{ranks_by.in_words} ({ranks_by.title} of the control) of each language:\n")
        parts.append(format_languages(scores, ranks_by.name))
        parts += filter(None, [format_confusion(scores)])
    if results.scores:
        parts.append("The control decodes each utterance from the audio of another one.\n")
    if results.unscored:
        lines = (f"* {name}: {report['unscored']}\n" for name, report in results.unscored.items())
        parts.append("## Decoded, not scored\n\n" + "".join(lines))
    few = [(name, report) for name, report in results.scores.items() if "left_out" in report]
    if few:
        parts.append("## Left out\n\n" + "".join(f"* {name}: {_left_out(report)}\n" for name, report in few))
    partial = {name: report[NUM_WITHOUT] for name, report in results.scores.items() if report.get(NUM_WITHOUT)}
    if partial:
        lines = (
            f"* {name}: {count} of {results.scores[name]['num_utterances']} outputs lack the separator; all of such an "
            "output counts as its first part, and the others are empty\n"
            for name, count in partial.items()
        )
        parts.append("## Outputs without all parts\n\n" + "".join(lines))
    rescored = {name: report for name, report in results.scores.items() if "tuned_on" in report}
    if rescored:
        parts.append(format_rescoring(rescored))
    warned = [(name, report["warning"]) for name, report in results.scores.items() if "warning" in report]
    warned += [(name, text) for name, report in results.ctc_reports.items() for text in report.get("warnings", ())]
    warned += [(name, text) for name, report in results.scores.items() if (text := _describe_cut(report))]
    if warned:
        parts.append("## Warnings\n\n" + "".join(f"* {name}: {warning}\n" for name, warning in warned))
    parts.extend(_format_ctc(name, report) for name, report in results.ctc_reports.items())
    if results.pictures:
        parts.append(_format_pictures(results.pictures))
    if results.scores:
        parts.append(_format_commands(results.scores))
    if results.missing:
        parts.append("## Missing\n\n" + "".join(f"* {line}\n" for line in results.missing))
    return "\n".join(parts)


def _describe_cut(report: dict[str, Any]) -> str:
    """Say how many texts were cut; "" where none was, or where an older decoding did not count them."""
    return describe_cut(report.get("num_cut", 0), report.get("num_runaway", 0), report["num_utterances"])


def _left_out(report: dict[str, Any]) -> str:
    """Say how many of a set's utterances are not scored, and where they are named."""
    total = report["num_official"]
    files = " and ".join(f"`{file}`" for file in report["left_out"])
    return f"{total - report['num_utterances']} of {total} are not scored; {files} name them"


def _format_ctc(name: str, report: dict[str, Any]) -> str:
    """Write the table of a CTC encoder with its signatures."""
    heading = f"## CTC encoder {name}, compressor {report.get('compressor', NONE)}\n"
    return "\n".join(
        [
            heading,
            f"Greedy CTC text against `{report.get('text_name', NONE)}`.\n",
            format_table(CTC_COLUMNS, format_ctc_rows(report)),
            format_signatures(collect_ctc_signatures(report)),
        ]
    )


def _format_pictures(pictures: dict[str, list[str]]) -> str:
    """Link the pictures of each system."""
    rows = [[name, ", ".join(f"[{Path(file).stem}]({file})" for file in files)] for name, files in pictures.items()]
    return f"## Pictures\n\n{format_table(['system', 'pictures'], rows)}"


def _format_commands(scores: dict[str, dict[str, Any]]) -> str:
    """List how each set was decoded: device, commit and command."""
    rows = []
    for name, report in scores.items():
        rows.append([name, str(report.get("device", NONE)), str(report.get("commit", NONE))])
    table = format_table(["decoded set", "device", "commit"], rows)
    commands = "".join(f"    {report['command']}\n" for report in scores.values() if "command" in report)
    return f"## Decoding\n\n{table}" + (f"\n{commands}" if commands else "")


def results_path(exp_dir: str | Path) -> Path:
    """Name the page of results of a recipe."""
    return Path(exp_dir) / "RESULTS.md"


def find_ctc_dirs(exp_dir: str | Path) -> list[Path]:
    """Find the CTC experiments and their compressed sets: where a CTC report may lie, sorted."""
    exp_dir = Path(exp_dir)
    compressed = f"ctc*/{COMPRESSED_PREFIX}*"  # and in it, further data directories, each with its own report
    found = [*exp_dir.glob("ctc*"), *exp_dir.glob(compressed), *exp_dir.glob(f"{compressed}/*")]
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
        raise MissingFileError(f"{exp_dir}: no such directory; run the recipe, or give its --exp_dir")
    missing: list[str] = []
    decode_dirs = find_decode_dirs(exp_dir)
    score_files = [score_path(path) for path in decode_dirs]
    scores = _read_reports(exp_dir, score_files, ["task"], missing)
    unscored = {name: scores.pop(name) for name in [*scores] if "unscored" in scores[name]}
    unsigned = [
        name for name, report in scores.items() if any("signature" not in part for part in expand_targets(report))
    ]
    missing += [f"{name}: {SCORE} has no signature; write it again" for name in unsigned]
    scores = {name: report for name, report in scores.items() if name not in unsigned}
    missing += [
        f"{name}: {SCORE} is of an unknown task {scores.pop(name)['task']!r}"
        for name in [name for name, report in scores.items() if report["task"] not in TASKS]
    ]
    # A set that was decoded for a rescoring to be tuned on, or for a cascade, needs no score of its own.
    used = [report[key] for report in scores.values() for key in ("tuned_on", "transcripts") if key in report]
    names = ["/".join(Path(folder).parts[-2:]) for folder in used]
    missing = [line for line in missing if line not in {f"{name}: no {SCORE}" for name in names}]
    ctc_files = [ctc_report_path(path) for path in find_ctc_dirs(exp_dir)]
    ctc_reports = _read_reports(exp_dir, [path for path in ctc_files if path.is_file()], ["sets"], missing)
    if not ctc_reports:
        missing.append("no CTC report")
    decoded = {path.parent for path in decode_dirs}
    systems = sorted(path.parent for path in exp_dir.glob("*/config.yaml"))
    starts = find_starts(systems)
    for system in systems:
        if system not in decoded and system.name not in starts and not system.name.startswith(("ctc", "stats")):
            missing.append(f"{system.name}: no decoded set")
    if not scores and not unscored:
        missing.append("no scored set")
    return Results(scores, ctc_reports, tuple(missing), unscored=unscored)


def find_starts(systems: Sequence[Path]) -> set[str]:
    """Name the experiments that another one starts from or learns from, which need not be decoded themselves."""
    found = set()
    for system in systems:
        settings = yaml.safe_load((system / "config.yaml").read_text(encoding="utf-8"))
        known = settings if isinstance(settings, dict) else {}
        others = [str(known[key]) for key in ("init_system", "teacher_system") if known.get(key)]
        for task, start in itertools.product(TASKS, others):
            # Both names begin with the task and end with what they have in common: size, seed, LLM, tag.
            prefix = f"{task}_{start}"
            ends = [other.name.removeprefix(prefix) for other in systems if other.name.startswith(prefix)]
            shared = [end for end in ends if system.name.startswith(f"{task}_") and system.name.endswith(end)]
            found |= {prefix + max(shared, key=len)} - {system.name} if shared else set()
    return found


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
        absent = [key for key in required if key not in report and "unscored" not in report]
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


def draw_pictures(exp_dir: str | Path, results: Results) -> Results:
    """Draw what is new of every decoded system; a picture that cannot be drawn is among the missing."""
    pictures, missing = {}, []
    for folder in dict.fromkeys(path.parent for path in find_decode_dirs(exp_dir)):
        try:
            files = write_pictures(folder)
        except MissingFileError:  # nothing to draw, of a system that is not scored yet
            continue
        except (InputError, KeyError, OSError) as error:
            missing.append(f"{folder.name}: no pictures ({error!s})".replace(f"{exp_dir}/", ""))
            continue
        pictures[folder.name] = [file.relative_to(exp_dir).as_posix() for file in files]
    return replace(results, pictures=pictures, missing=(*results.missing, *missing))


def write_results(exp_dir: str | Path, title: str = "Results") -> Results:
    """Write RESULTS.md from what is there, and draw the pictures that it links.

    Args:
        exp_dir: The recipe's directory of experiments.
        title: The page's heading.

    Returns:
        What was found and what is missing.
    """
    results = draw_pictures(exp_dir, collect_results(exp_dir))
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
