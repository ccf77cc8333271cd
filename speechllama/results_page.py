"""The page of results: what was collected -> markdown tables, each score with its signature below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from speechllama.ctc_report import CTC_COLUMNS, collect_ctc_signatures, format_ctc_rows
from speechllama.markdown import format_signatures, format_table

TRANSLATION_COLUMNS = [
    "system",
    "set",
    "beam",
    "BLEU [95 %]",
    "chrF",
    "control BLEU",
    "utterances (empty)",
    "real-time factor",
    "trained parameters",
]
RECOGNITION_COLUMNS = [
    "system",
    "set",
    "beam",
    "WER %",
    "CER %",
    "control WER %",
    "utterances (empty)",
    "real-time factor",
    "trained parameters",
]
NONE = "-"  # a cell without a value


@dataclass(frozen=True)
class Results:
    """What an experiment directory holds: reports by their path below it, a line for all that is missing."""

    scores: dict[str, dict[str, Any]]
    ctc_reports: dict[str, dict[str, Any]]
    missing: tuple[str, ...]


def format_results(results: Results, title: str = "Results") -> str:
    """Write the page of results.

    Args:
        results: From `collect_results`.
        title: The page's heading.

    Returns:
        Markdown; below each table of scores their signatures.
    """
    translations = {name: report for name, report in results.scores.items() if report["task"] == "st"}
    transcripts = {name: report for name, report in results.scores.items() if report["task"] == "asr"}
    parts = [f"# {title}\n"]
    if translations:
        parts.append(_format_scores("Translation", translations, TRANSLATION_COLUMNS, _translation_row))
        parts.append("BLEU (BLEU of the control) of each language:\n")
        parts.append(_format_languages(translations, "bleu"))
    if transcripts:
        parts.append(_format_scores("Recognition", transcripts, RECOGNITION_COLUMNS, _recognition_row))
        parts.append("WER in percent (WER of the control) of each language:\n")
        parts.append(_format_languages(transcripts, "wer"))
    if results.scores:
        parts.append("The control decodes each utterance from the audio of another one.\n")
    few = [(name, report) for name, report in results.scores.items() if "left_out" in report]
    if few:
        parts.append("## Left out\n\n" + "".join(f"* {name}: {_left_out(report)}\n" for name, report in few))
    warned = [(name, report["warning"]) for name, report in results.scores.items() if "warning" in report]
    if warned:
        parts.append("## Warnings\n\n" + "".join(f"* {name}: {warning}\n" for name, warning in warned))
    parts.extend(_format_ctc(name, report) for name, report in results.ctc_reports.items())
    if results.scores:
        parts.append(_format_commands(results.scores))
    if results.missing:
        parts.append("## Missing\n\n" + "".join(f"* {line}\n" for line in results.missing))
    return "\n".join(parts)


def _format_scores(
    heading: str,
    scores: dict[str, dict[str, Any]],
    columns: Sequence[str],
    to_row: Callable[[str, dict[str, Any]], list[str]],
) -> str:
    """Write one table of scores and the signatures below it."""
    table = format_table(columns, [to_row(name, report) for name, report in scores.items()])
    keys = ("signature", "chrf_signature", "cer_signature")
    signatures = [report[key] for key in keys for report in scores.values() if key in report]
    return f"## {heading}\n\n{table}\n{format_signatures(signatures)}"


def _translation_row(name: str, report: dict[str, Any]) -> list[str]:
    """Lay a translation score out in the order of TRANSLATION_COLUMNS."""
    interval = f"{_number(report, 'bleu')} [{_number(report, 'bleu_low')}, {_number(report, 'bleu_high')}]"
    scores = [interval, _number(report, "chrf"), _number(report, "control_bleu")]
    return [*_first_cells(name, report), *scores, *_last_cells(report)]


def _recognition_row(name: str, report: dict[str, Any]) -> list[str]:
    """Lay a recognition score out in the order of RECOGNITION_COLUMNS."""
    scores = [_number(report, key) for key in ("wer", "cer", "control_wer")]
    return [*_first_cells(name, report), *scores, *_last_cells(report)]


def _first_cells(name: str, report: dict[str, Any]) -> list[str]:
    """Name system, set and beam size."""
    return [name.split("/")[0], str(report.get("set", NONE)), str(report.get("beam_size", NONE))]


def _last_cells(report: dict[str, Any]) -> list[str]:
    """Give utterances (empty ones), real-time factor and trained parameters."""
    whole = f" of {report['num_official']}" if "left_out" in report else ""
    utterances = f"{report.get('num_utterances', NONE)}{whole} ({report.get('num_empty', NONE)})"
    trained = report.get("num_trainable")
    return [utterances, _number(report, "rtf", 3), f"{trained:,}" if isinstance(trained, int) else NONE]


def _left_out(report: dict[str, Any]) -> str:
    """Say how many of a set's utterances are not scored, and where they are named."""
    total = report["num_official"]
    files = " and ".join(f"`{file}`" for file in report["left_out"])
    return f"{total - report['num_utterances']} of {total} are not scored; {files} name them"


def _number(report: dict[str, Any], key: str, digits: int = 2) -> str:
    """Write one number of a report, or the empty cell."""
    value = report.get(key)
    return f"{value:.{digits}f}" if isinstance(value, int | float) else NONE


def _format_languages(scores: dict[str, dict[str, Any]], key: str) -> str:
    """Write the table of one score per language: a row for each decoded set, a column for each language."""
    languages = sorted(set().union(*(report.get("per_language", {}) for report in scores.values())))
    rows = []
    for name, report in scores.items():
        row = _first_cells(name, report)
        for language in languages:
            part = report.get("per_language", {}).get(language, {})
            row.append(f"{_number(part, key)} ({_number(part, 'control_' + key)})" if part else NONE)
        rows.append(row)
    return format_table(["system", "set", "beam", *languages], rows)


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


def _format_commands(scores: dict[str, dict[str, Any]]) -> str:
    """List how each set was decoded: device, commit and command."""
    rows = []
    for name, report in scores.items():
        rows.append([name, str(report.get("device", NONE)), str(report.get("commit", NONE))])
    table = format_table(["decoded set", "device", "commit"], rows)
    commands = "".join(f"    {report['command']}\n" for report in scores.values() if "command" in report)
    return f"## Decoding\n\n{table}" + (f"\n{commands}" if commands else "")
