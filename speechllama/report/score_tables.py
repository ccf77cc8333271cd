"""Tables of scores in markdown: score.json of decoded sets -> a table for each task, target language and ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechllama.markdown import format_signatures, format_table
from speechllama.report.decoded_set import expand_targets, name_pair
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import TASKS, Metric, Task, task_of

FIRST_COLUMNS = ("system", "set", "beam")
LAST_COLUMNS = ("utterances (empty)", "real-time factor", "trained parameters")
NONE = "-"  # a cell without a value


def group_scores(scores: Mapping[str, dict[str, Any]]) -> list[tuple[str, Task, dict[str, dict[str, Any]]]]:
    """Group reports into tables: by task, by the metric that ranks, by target language and by BLEU's tokenizer.

    Returns:
        Heading, task and reports of each, in the order of TASKS. The heading names what several tables differ in.
    """
    groups: dict[tuple[Task, str, str], dict[str, dict[str, Any]]] = {}
    for name, report in scores.items():
        for part in expand_targets(report):
            task, target = task_of(report), str(part.get("target", DEFAULT_TARGET))
            key = (task, target if task.is_translation else "", str(part.get("bleu_tokenizer", "")))
            called = f"{name} [{target}]" if "per_target" in report else name
            groups.setdefault(key, {})[called] = part
    order = list(TASKS)
    found = []
    for (task, target, tokenizer), reports in sorted(groups.items(), key=lambda group: order.index(group[0][0].name)):
        heading = task.title
        if target and len({other for each, other, _ in groups if each.name == task.name}) > 1:
            heading += f" into {TARGETS[target].language if target in TARGETS else target}"
        if tokenizer:
            heading += f", BLEU with the tokenizer {tokenizer}"
        if task != TASKS[task.name]:
            heading += f", ranked by {task.ranks_by.title}"
        found.append((heading, task, reports))
    return found


def _format_pairs(task: Task, scores: Mapping[str, dict[str, Any]]) -> str:
    """Name the languages, and why CER ranks where it does."""
    names = dict.fromkeys(name_pair(report) for report in scores.values() if report.get("per_language"))
    line = (
        f"{'Language pair' if task.is_translation else 'Language of the speech'}: {'; '.join(names)}.\n\n"
        if names
        else ""
    )
    if task != TASKS[task.name]:
        line += "Of these languages some have no spaces between words, so that WER counts a sentence as one word.\n\n"
    return line


def format_scores(heading: str, task: Task, scores: dict[str, dict[str, Any]]) -> str:
    """Write the table of a task's scores and the signatures below it."""
    metrics = task.metrics_of(*scores.values())
    headings = [metric.heading + (" [95 %]" if metric.has_interval else "") for metric in metrics]
    controls = list(dict.fromkeys([task.ranks_by, *(metric for metric in metrics if metric in task.compared)]))
    columns = [*FIRST_COLUMNS, *headings, *(f"control {metric.heading}" for metric in controls), *LAST_COLUMNS]
    rows = []
    for name, report in scores.items():
        cells = [*(_score_cell(report, metric) for metric in metrics)]
        cells += [_number(report, f"control_{metric.name}") for metric in controls]
        rows.append([*_first_cells(name, report), *cells, *_last_cells(report)])
    signatures = [report[key] for key in task.signatures for report in scores.values() if key in report]
    table = format_table(columns, rows)
    return f"## {heading}\n\n{_format_pairs(task, scores)}{table}\n{format_signatures(signatures)}"


def _score_cell(report: dict[str, Any], metric: Metric) -> str:
    """Write a score, with its interval where it has one."""
    ends = [f"{metric.name}_{end}" for end in ("low", "high")]
    interval = f" [{', '.join(_number(report, end) for end in ends)}]" if ends[0] in report else ""  # older: none
    return _number(report, metric.name) + interval


def _first_cells(name: str, report: dict[str, Any]) -> list[str]:
    """Name system, set and beam size."""
    return [name.split("/")[0], str(report.get("set", NONE)), str(report.get("beam_size", NONE))]


def _last_cells(report: dict[str, Any]) -> list[str]:
    """Give utterances (empty ones), real-time factor and trained parameters."""
    whole = f" of {report['num_official']}" if "left_out" in report else ""
    utterances = f"{report.get('num_utterances', NONE)}{whole} ({report.get('num_empty', NONE)})"
    trained = report.get("num_trainable")
    return [utterances, _number(report, "rtf", 3), f"{trained:,}" if isinstance(trained, int) else NONE]


def _number(report: dict[str, Any], key: str, digits: int = 2) -> str:
    """Write one number of a report, or the empty cell."""
    value = report.get(key)
    return f"{value:.{digits}f}" if isinstance(value, int | float) else NONE


def format_languages(scores: dict[str, dict[str, Any]], key: str) -> str:
    """Write the table of one score per language: a row for each decoded set, a column for each language."""
    languages = sorted(set().union(*(report.get("per_language", {}) for report in scores.values())))
    rows = []
    for name, report in scores.items():
        row = _first_cells(name, report)
        for language in languages:
            part = report.get("per_language", {}).get(language, {})
            row.append(f"{_number(part, key)} ({_number(part, 'control_' + key)})" if part else NONE)
        rows.append(row)
    return format_table([*FIRST_COLUMNS, *languages], rows)


def format_confusion(scores: dict[str, dict[str, Any]]) -> str:
    """Write which label was taken for which: a row for each label of each decoded set; "" where there are no labels."""
    scores = {name: report for name, report in scores.items() if "confusion" in report}
    found = {label: None for report in scores.values() for row in report["confusion"].values() for label in row}
    labels = sorted({*found, *(label for report in scores.values() for label in report["confusion"])})
    rows = [
        [*_first_cells(name, report), label, *(str(counts.get(other, 0)) for other in labels)]
        for name, report in scores.items()
        for label, counts in report["confusion"].items()
    ]
    table = format_table([*FIRST_COLUMNS, "label", *labels], rows)
    return f"Utterances by their label (rows) and by what was written (columns):\n\n{table}" if rows else ""


def format_rescoring(scores: dict[str, dict[str, Any]]) -> str:
    """Write how much the LLM's score counts in each rescored set, and what that was worth where it was tuned."""
    columns = [*FIRST_COLUMNS, "LLM's weight", "length norm", "tuned on", "its own", "with the LLM"]
    rows = []
    for name, report in scores.items():
        sign = 1 if task_of(report).ranks_by.is_higher_better else -1  # tuning looks for the largest value
        setting = [str(report.get(key, NONE)) for key in ("weight", "length_norm")]
        tuned_on = "/".join(report["tuned_on"].split("/")[-2:])
        values = [f"{sign * report[key]:.2f}" if key in report else NONE for key in ("own_metric", "tuned_metric")]
        rows.append([*_first_cells(name, report), *setting, tuned_on, *values])
    used = [(report.get("tuned_by", task_of(report).ranks_by.in_words), report["task"]) for report in scores.values()]
    metrics = ", ".join(f"{metric} ({name})" for metric, name in dict.fromkeys(used))
    return f"## Rescoring\n\n{format_table(columns, rows)}\nThe last two columns: {metrics}.\n"
