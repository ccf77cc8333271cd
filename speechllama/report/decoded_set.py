"""One decoded set, its control and its score.

    <system>/decode_<set>_beam<K>/{text, decode.json} + .._control/text + data directory -> score.json

The control is the same decoding with each utterance given another utterance's audio: what it reaches needs no
speech, so a score is worth what it has above its control.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechllama.data.corpus_report import count_rows
from speechllama.data.skipped import read_skipped
from speechllama.files import read_json, read_table
from speechllama.report.score import NUM_BOOTSTRAP, Pairs, pair, split_by_language
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import TASKS, Task

SCORE = "score.json"
CONTROL_SUFFIX = "_control"


def find_decode_dirs(exp_dir: str | Path) -> list[Path]:
    """Find the decoding directories of all systems, without the controls, sorted."""
    found = [path for path in Path(exp_dir).glob("*/decode_*") if path.is_dir()]
    return sorted(path for path in found if not path.name.endswith(CONTROL_SUFFIX))


def hypothesis_path(decode_dir: str | Path) -> Path:
    """Name the table of decoded text."""
    return Path(decode_dir) / "text"


def decode_report_path(decode_dir: str | Path) -> Path:
    """Name what decoding reports of itself: beam, real-time factor, command."""
    return Path(decode_dir) / "decode.json"


def score_path(decode_dir: str | Path) -> Path:
    """Name the score of a decoded set."""
    return Path(decode_dir) / SCORE


@dataclass(frozen=True)
class DecodedSet:
    """Where a decoded set lies.

    Attributes:
        hyp_dir: Decoding directory with `text`, and `decode.json` if decoding wrote one.
        data_dir: Data directory with the task's references and `utt2lang`; its name is the name of the set.
        control_dir: Decoding directory of the control, if there is one.
        corpus_report: What stage `data` says of the corpus (report.json), where its recipe writes one.
    """

    hyp_dir: str | Path
    data_dir: str | Path
    control_dir: str | Path | None = None
    corpus_report: str | Path | None = None


def score_decoded_set(decoded: DecodedSet, task: str, target: str = DEFAULT_TARGET) -> dict[str, Any]:
    """Score a decoded set, and its control if there is one.

    Args:
        decoded: Its files.
        task: A name in TASKS.
        target: The language of translations, a name in TARGETS.

    Returns:
        What score.json holds: the scores with their signatures, `num_official` and, if fewer are scored, `left_out`
        (the files that name the others), the control's as `control_...`,
        `per_language`, the keys of decode.json, and `warning` where the score is not better than its control.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: The task or the target is unknown, or hypotheses and references do not fit (see `pair`).
    """
    record, data_dir = TASKS[task], Path(decoded.data_dir)
    references = read_table(data_dir / record.reference)
    languages = read_table(data_dir / "utt2lang")
    hypothesis_file = hypothesis_path(decoded.hyp_dir)
    pairs = pair(read_table(hypothesis_file), references, str(hypothesis_file), languages)
    controls: Pairs | None = None
    if decoded.control_dir is not None:
        control_file = hypothesis_path(decoded.control_dir)
        controls = pair(read_table(control_file), references, str(control_file), languages)
    report: dict[str, Any] = {"task": task, "set": data_dir.resolve().name}
    report |= {"target": target} if record.is_translation else {}
    report |= score_pairs(pairs, controls, record, target)
    report |= count_left_out(report["num_utterances"], data_dir, decoded.corpus_report)
    warning = find_warning(report)
    if warning:
        report["warning"] = warning
    control_languages = split_by_language(controls, languages) if controls else {}
    report["per_language"] = {
        language: score_pairs(part, control_languages.get(language), record, target)
        for language, part in split_by_language(pairs, languages).items()
    }
    if decode_report_path(decoded.hyp_dir).is_file():
        # Decoding's facts follow; what is counted here has the last word.
        for key, value in read_json(decode_report_path(decoded.hyp_dir)).items():
            report.setdefault(key, value)
    return report


def score_pairs(pairs: Pairs, controls: Pairs | None, task: Task, target: str) -> dict[str, Any]:
    """Score texts and their control as the keys of score.json."""
    values = _score(pairs, task, target, NUM_BOOTSTRAP)
    if controls:
        # No interval for the control: one resampling is enough, and no score depends on it.
        control = _score(controls, task, target, 1)
        values |= {f"control_{metric.name}": control[metric.name] for metric in task.metrics}
    return values


def _score(pairs: Pairs, task: Task, target: str, num_bootstrap: int) -> dict[str, Any]:
    """Run a task's scorer; its numbers keep four decimals: more are noise, and files stay readable."""
    found = asdict(task.score(pairs, TARGETS[target], num_bootstrap=num_bootstrap))
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def rank(pairs: Pairs, task: Task, target: str = DEFAULT_TARGET) -> float:
    """Give the score that ranks systems in the task, its sign turned where a smaller value is better."""
    if task.compared_by:  # without the other scores
        metric = task.make_compared(TARGETS[target])
        value = float(metric.corpus_score(list(pairs.hypotheses), [list(pairs.references)]).score)
    else:
        value = float(getattr(task.score(pairs, TARGETS[target], num_bootstrap=1), task.ranks_by.name))
    return value if task.ranks_by.is_higher_better else -value


def count_left_out(num_scored: int, data_dir: Path, corpus_report: str | Path | None) -> dict[str, Any]:
    """How many utterances the set officially has, and the files that name those which are not scored."""
    skipped = read_skipped(data_dir / "skipped")
    num_official = num_scored + len(skipped)
    files = [str(data_dir / "skipped")] if skipped else []
    num_rows = count_rows(corpus_report, data_dir.resolve().name) if corpus_report is not None else 0
    if num_rows > num_official:
        num_official = num_rows
        files.append(str(corpus_report))
    return {"num_official": num_official, **({"left_out": files} if files else {})}


def find_warning(report: Mapping[str, Any]) -> str:
    """Say it when a score is no better than its control; "" when it is, or when there is no control.

    A score with an interval counts as better when the whole of it is.
    """
    task = TASKS[report["task"]]
    metric, control = task.ranks_by, report.get(task.control)
    if control is None:
        return ""
    found = metric.format(report[metric.name])
    if metric.has_interval:
        end = report[f"{metric.name}_{'low' if metric.is_higher_better else 'high'}"]
        found += f" (95 % {'from' if metric.is_higher_better else 'to'} {end:.2f})"
    else:
        end = report[metric.name]
    if end > control if metric.is_higher_better else end < control:
        return ""
    against = metric.format(control).removeprefix(f"{metric.title} ")
    return (
        f"not better than its control: {found} against {against} with the audio of another utterance "
        f"({report['signature']}); the model does not use the audio"
    )


def format_report(report: Mapping[str, Any]) -> str:
    """Write a score.json as one line for people, signatures included."""
    task = TASKS[report["task"]]
    parts = []
    for metric in task.metrics:
        part = metric.format(report[metric.name])
        if metric.has_interval:
            part += metric.format_interval(*(report[f"{metric.name}_{end}"] for end in ("low", "high")))
        parts.append(f"{part} ({report[task.signature(metric)]})")
    control = task.ranks_by.format(report[task.control]) if task.control in report else "none"
    count = f"{report['num_utterances']} of {report['num_official']} utterances, {report['num_empty']} empty"
    return f"{report['set']}: {', '.join(parts)}, control {control}, {count}"
