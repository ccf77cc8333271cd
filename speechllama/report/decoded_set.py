"""One decoded set, its control and its score.

    <system>/decode_<set>_beam<K>/{text, decode.json} + .._control/text + data directory -> score.json

The control is the same decoding with each utterance given another utterance's audio: what it reaches needs no
speech, so a score is worth what it has above its control. A set with several target languages has scores of each, and
none of all together: BLEU of different languages, and of different tokenizers, has no mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sacrebleu.metrics import CHRF

from speechllama.data.corpus_report import count_rows
from speechllama.data.data_dir import TARGET_TABLE
from speechllama.data.skipped import read_skipped
from speechllama.files import read_json, read_table
from speechllama.report.score import NUM_BOOTSTRAP, Pairs, has_texts, pair, split_by_language, split_pairs
from speechllama.report.segments import digest_texts, read_segments
from speechllama.text.clean import is_blank
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, Target, choose_target
from speechllama.text.tasks import NUM_WITHOUT, TASKS, Task, task_of

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
        bleu_tokenizer: BLEU's, of sacreBLEU's; "" is that of the target language.
    """

    hyp_dir: str | Path
    data_dir: str | Path
    control_dir: str | Path | None = None
    corpus_report: str | Path | None = None
    bleu_tokenizer: str = ""


@dataclass(frozen=True)
class ScoredTexts:
    """Texts to score, and those of the control.

    Attributes:
        task: What they are, ranked as their languages need it.
        pairs: The texts.
        controls: Those of the control; None without one.
        languages: Language of the speech by utterance.
        bleu_tokenizer: As that of `DecodedSet`.
    """

    task: Task
    pairs: Pairs
    controls: Pairs | None
    languages: Mapping[str, str]
    bleu_tokenizer: str = ""

    def by_target(self, targets: Mapping[str, str]) -> dict[str, ScoredTexts]:
        """One for each target language, by utterance."""
        parts = split_pairs(self.pairs, targets, TARGET_TABLE, "target language")
        controls = split_pairs(self.controls, targets, TARGET_TABLE, "target language") if self.controls else {}
        return {name: replace(self, pairs=part, controls=controls.get(name)) for name, part in parts.items()}


def score_decoded_set(decoded: DecodedSet, task: str, target: str = DEFAULT_TARGET) -> dict[str, Any]:
    """Score a decoded set, and its control if there is one.

    Args:
        decoded: Its files.
        task: A name in TASKS.
        target: The language of translations, a name in TARGETS, where the data directory has no utt2target.

    Returns:
        What score.json holds; of a set without references only what `describe_unscored` says. Else the scores with
        their signatures, `num_official` and, if fewer are scored, `left_out` (the files that name the others), the
        control's as `control_...`, `per_language`, the keys of decode.json, and `warning` where the score is not better
        than its control. Where there are several target languages, the scores are in `per_target` instead; see
        `expand_targets`.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: The task or the target is unknown, or hypotheses and references do not fit (see `pair`).
    """
    record, data_dir = TASKS[task], Path(decoded.data_dir)
    if not has_texts(read_table(data_dir / record.reference)):
        return describe_unscored(decoded, record, target)
    texts = read_texts(decoded, record)
    targets = read_targets(data_dir, texts.pairs.utterances, target) if record.is_translation else {}
    report: dict[str, Any] = {"task": task, "set": data_dir.resolve().name}
    if texts.task != record:
        report["ranks_by"] = texts.task.ranks_by.name
    if len({*targets.values()}) > 1:
        parts = {name: score_part(part, name) for name, part in texts.by_target(targets).items()}
        report["per_target"] = parts
        report |= {key: sum(part[key] for part in parts.values()) for key in ("num_utterances", "num_empty")}
        warned = [f"into {name}: {part['warning']}" for name, part in parts.items() if "warning" in part]
        report |= {"warning": "; ".join(warned)} if warned else {}
    else:
        report |= score_part(texts, next(iter(targets.values()), target))
    report |= count_left_out(report["num_utterances"], data_dir, decoded.corpus_report)
    if decode_report_path(decoded.hyp_dir).is_file():
        # Decoding's facts follow; what is counted here has the last word.
        for key, value in read_json(decode_report_path(decoded.hyp_dir)).items():
            report.setdefault(key, value)
    return report


def read_texts(decoded: DecodedSet, task: Task) -> ScoredTexts:
    """Read hypotheses, references and languages of a decoded set, and the hypotheses of its control."""
    data_dir = Path(decoded.data_dir)
    references = task.texts_of(read_table(data_dir / task.reference))
    languages = read_table(data_dir / "utt2lang")

    def read(folder: str | Path) -> Pairs:
        found = pair(read_table(hypothesis_path(folder)), references, str(hypothesis_path(folder)), languages)
        return add_segments(found, folder, task)

    controls = None if decoded.control_dir is None else read(decoded.control_dir)
    ranked = task.ranked_for({*languages.values()})
    return ScoredTexts(ranked, read(decoded.hyp_dir), controls, languages, decoded.bleu_tokenizer)


def add_segments(pairs: Pairs, decode_dir: str | Path, task: Task) -> Pairs:
    """Put the scores of utterances that are in the decoding directory next to the texts.

    Raises:
        ValueError: They are of other texts.
    """
    texts = digest_texts(pairs.hypotheses, pairs.references)
    names = [metric.name for metric in task.metrics if metric.of_segments]
    found = {name: read_segments(decode_dir, name, texts) for name in names}
    return replace(pairs, segments={name: scores for name, scores in found.items() if scores})


def read_targets(data_dir: str | Path, utterances: Iterable[str], target: str) -> dict[str, str]:
    """Give the target language of each utterance: what utt2target says, or the one for all."""
    table = Path(data_dir) / TARGET_TABLE
    named = read_table(table) if table.is_file() else {}
    return {utterance: named.get(utterance, target) for utterance in utterances}


def score_part(texts: ScoredTexts, target: str) -> dict[str, Any]:
    """Score texts in one language, all of them and by language of the speech."""
    task, language = texts.task, choose_target(target, texts.bleu_tokenizer)
    report: dict[str, Any] = {"target": target} if task.is_translation else {}
    if task.is_translation and texts.bleu_tokenizer:
        report["bleu_tokenizer"] = texts.bleu_tokenizer
    report |= score_pairs(texts.pairs, texts.controls, task, language)
    warning = find_warning({"task": task.name, "ranks_by": task.ranks_by.name, **report})
    if warning:
        report["warning"] = warning
    controls = split_by_language(texts.controls, texts.languages) if texts.controls else {}
    report["per_language"] = {
        name: score_pairs(part, controls.get(name), task, language)
        for name, part in split_by_language(texts.pairs, texts.languages).items()
    }
    return report


def expand_targets(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a score.json as one of each target language; one of a single language as it is."""
    if "per_target" not in report:
        return [dict(report)]
    # What was left out is known of the whole set only, and stays in its own report.
    common = {key: value for key, value in report.items() if key not in ("per_target", "warning", "left_out")}
    return [{**common, **part} for part in report["per_target"].values()]


def name_pair(report: Mapping[str, Any]) -> str:
    """Name the language pair of a score: "de, fr to en"; of recognition the languages of the speech."""
    sources = ", ".join(report.get("per_language", {}))
    if not TASKS[report["task"]].is_translation:
        return sources
    return f"{sources} to {report.get('target', DEFAULT_TARGET)}".strip()


def describe_unscored(decoded: DecodedSet, task: Task, target: str) -> dict[str, Any]:
    """What score.json holds of a set without references: why there is no score under `unscored`, and counts."""
    hypotheses = read_table(hypothesis_path(decoded.hyp_dir))
    targets = {*read_targets(decoded.data_dir, hypotheses, target).values()} if task.is_translation else set()
    file = decode_report_path(decoded.hyp_dir)
    return {
        **(read_json(file) if file.is_file() else {}),
        "task": task.name,
        "set": Path(decoded.data_dir).resolve().name,
        **({"target": next(iter(targets))} if len(targets) == 1 else {}),
        "unscored": f"no references in {Path(decoded.data_dir) / task.reference}",
        "num_utterances": len(hypotheses),
        "num_empty": sum(map(is_blank, hypotheses.values())),
    }


def score_pairs(pairs: Pairs, controls: Pairs | None, task: Task, target: Target) -> dict[str, Any]:
    """Score texts and their control as the keys of score.json."""
    values = _score(pairs, task, target, NUM_BOOTSTRAP)
    if controls:
        # No interval for the control: one resampling is enough, and no score depends on it.
        control = _score(controls, task, target, 1)
        values |= {f"control_{metric.name}": control[metric.name] for metric in task.metrics if metric.name in control}
    return values


def _score(pairs: Pairs, task: Task, target: Target, num_bootstrap: int) -> dict[str, Any]:
    """Run a task's scorer; its numbers keep four decimals: more are noise, and files stay readable."""
    found = asdict(task.score(pairs, target, num_bootstrap=num_bootstrap))
    usual = TASKS[task.name].ranks_by
    if task.ranks_by.name != usual.name:  # the signature of the one that ranks has no prefix
        own = found.pop(f"{task.ranks_by.name}_signature")
        found |= {f"{usual.name}_signature": found["signature"], "signature": own}
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in found.items() if value is not None
    }


def rank(pairs: Pairs, task: Task, targets: Mapping[str, str] | str = DEFAULT_TARGET) -> float:
    """Give the score that ranks systems in the task, its sign turned where a smaller value is better.

    Args:
        pairs: The texts.
        task: What they are.
        targets: The language that translations are in, of all or by utterance. Of several languages it is chrF that
            ranks: it has no tokenizer, so that it can be counted over all of them.
    """
    names = {targets} if isinstance(targets, str) else {targets[utterance] for utterance in pairs.utterances}
    if task.is_translation and len(names) > 1:
        return float(CHRF().corpus_score(list(pairs.hypotheses), [list(pairs.references)]).score)
    target = TARGETS[next(iter(names))]
    if task.compared_by:  # without the other scores
        metric = task.make_compared(task.ranks_by, target)
        value = float(metric.corpus_score(list(pairs.hypotheses), [list(pairs.references)]).score)
    else:
        value = float(getattr(task.score(pairs, target, num_bootstrap=1), task.ranks_by.name))
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
    task = task_of(report)
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
    """Write a score.json as a line for people, signatures included; as several where there are several targets."""
    if "unscored" in report:
        count = f"{report['num_utterances']} utterances, {report['num_empty']} empty"
        return f"{report['set']}: decoded, not scored: {report['unscored']}; {count}"
    return "\n".join(map(_format_one, expand_targets(report)))


def _format_one(report: Mapping[str, Any]) -> str:
    task = task_of(report)
    parts = []
    for metric in task.metrics_of(report):
        part = metric.format(report[metric.name])
        if metric.has_interval:
            part += metric.format_interval(*(report[f"{metric.name}_{end}"] for end in ("low", "high")))
        parts.append(f"{part} ({report[task.signature(metric)]})")
    control = task.ranks_by.format(report[task.control]) if task.control in report else "none"
    # A part of a set with several target languages is all of what is scored of that language.
    total = report["num_official"] if "left_out" in report else report["num_utterances"]
    count = f"{report['num_utterances']} of {total} utterances, {report['num_empty']} empty"
    count += f", {report[NUM_WITHOUT]} outputs without the separator" if report.get(NUM_WITHOUT) else ""
    return f"{report['set']} ({name_pair(report)}): {', '.join(parts)}, control {control}, {count}"
