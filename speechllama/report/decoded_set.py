"""One decoded set, its control and its score.

    <system>/decode_<set>_beam<K>/{text, decode.json} + .._control/text + data directory -> score.json

The control is the same decoding with each utterance given another utterance's audio: what it reaches needs no
listening, so a score is worth what it has above its control.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from speechllama.data.ark import read_skipped
from speechllama.files import read_json, read_table
from speechllama.report.score import Pairs, pair, score_recognition, score_translation, split_by_language

Task = Literal["st", "asr"]
SCORE = "score.json"
# The table of a data directory that holds what each task should write.
REFERENCE_NAMES: dict[str, str] = {"st": "text", "asr": "src_text"}


def hypothesis_path(decode_dir: str | Path) -> Path:
    """Name the table of decoded text."""
    return Path(decode_dir) / "text"


def decode_report_path(decode_dir: str | Path) -> Path:
    """Name what decoding reports of itself: beam, real-time factor, command."""
    return Path(decode_dir) / "decode.json"


def score_path(decode_dir: str | Path) -> Path:
    """Name the score of a decoded set."""
    return Path(decode_dir) / SCORE


def score_decoded_set(
    hyp_dir: str | Path,
    data_dir: str | Path,
    task: Task,
    control_dir: str | Path | None = None,
    corpus_report: str | Path | None = None,
) -> dict[str, Any]:
    """Score a decoded set, beside its control if there is one.

    Args:
        hyp_dir: Decoding directory with `text`, and `decode.json` if decoding wrote one.
        data_dir: Data directory with the references (`text` for st, `src_text` for asr) and `utt2lang`; its
            name is the name of the set.
        task: "st" for BLEU and chrF, "asr" for WER and CER (percent).
        control_dir: Decoding directory of the control.
        corpus_report: What stage 1 says of the corpus (report.json), where its recipe writes one.

    Returns:
        What score.json holds: the scores with their signatures, `num_official` and, if fewer are scored, `left_out`
        (the files that name the others), the control's as `control_...`,
        `per_language`, the keys of decode.json, and `warning` where the score is not better than its control.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: The task is unknown, or hypotheses and references do not fit (see `pair`).
    """
    if task not in REFERENCE_NAMES:
        raise ValueError(f"task: found {task!r}, expected one of {', '.join(REFERENCE_NAMES)}")
    data_dir = Path(data_dir)
    references = read_table(data_dir / REFERENCE_NAMES[task])
    languages = read_table(data_dir / "utt2lang")
    score_set = _score_translations if task == "st" else _score_transcripts
    hypothesis_file = hypothesis_path(hyp_dir)
    pairs = pair(read_table(hypothesis_file), references, str(hypothesis_file))
    controls: Pairs | None = None
    if control_dir is not None:
        control_file = hypothesis_path(control_dir)
        controls = pair(read_table(control_file), references, str(control_file))
    report: dict[str, Any] = {"task": task, "set": data_dir.resolve().name, **score_set(pairs, controls)}
    report |= count_left_out(report["num_utterances"], data_dir, corpus_report)
    warning = find_warning(report)
    if warning:
        report["warning"] = warning
    control_languages = split_by_language(controls, languages) if controls else {}
    report["per_language"] = {
        language: score_set(part, control_languages.get(language))
        for language, part in split_by_language(pairs, languages).items()
    }
    if decode_report_path(hyp_dir).is_file():
        # Decoding's facts follow; what is counted here has the last word.
        for key, value in read_json(decode_report_path(hyp_dir)).items():
            report.setdefault(key, value)
    return report


def count_left_out(num_scored: int, data_dir: Path, corpus_report: str | Path | None) -> dict[str, Any]:
    """How many utterances the set officially has, and the files that name those which are not scored."""
    skipped = read_skipped(data_dir / "skipped")
    num_official = num_scored + len(skipped)
    files = [str(data_dir / "skipped")] if skipped else []
    if corpus_report is not None and Path(corpus_report).is_file():
        splits = [language["splits"] for language in read_json(corpus_report)["languages"].values()]
        num_rows = sum(split.get(data_dir.resolve().name, {}).get("rows", 0) for split in splits)
        if num_rows > num_official:
            num_official = num_rows
            files.append(str(corpus_report))
    return {"num_official": num_official, **({"left_out": files} if files else {})}


def _score_translations(pairs: Pairs, controls: Pairs | None) -> dict[str, Any]:
    """Score translations and their control as the keys of score.json."""
    score = score_translation(pairs)
    values: dict[str, Any] = {
        "bleu": _shorten(score.bleu),
        "bleu_low": _shorten(score.bleu_low),
        "bleu_high": _shorten(score.bleu_high),
        "chrf": _shorten(score.chrf),
        "signature": score.signature,
        "chrf_signature": score.chrf_signature,
        "num_utterances": score.num_utterances,
        "num_empty": score.num_empty,
    }
    if controls:
        # No interval for the control: one resampling is enough, and BLEU itself does not depend on it.
        control = score_translation(controls, num_bootstrap=1)
        values |= {"control_bleu": _shorten(control.bleu), "control_chrf": _shorten(control.chrf)}
    return values


def _score_transcripts(pairs: Pairs, controls: Pairs | None) -> dict[str, Any]:
    """Score transcripts and their control as the keys of score.json."""
    score = score_recognition(pairs)
    values: dict[str, Any] = {
        "wer": _shorten(score.wer),
        "cer": _shorten(score.cer),
        "num_word_errors": score.num_word_errors,
        "num_words": score.num_words,
        "num_character_errors": score.num_character_errors,
        "num_characters": score.num_characters,
        "signature": score.signature,
        "cer_signature": score.cer_signature,
        "num_utterances": score.num_utterances,
        "num_empty": score.num_empty,
    }
    if controls:
        control = score_recognition(controls)
        values |= {"control_wer": _shorten(control.wer), "control_cer": _shorten(control.cer)}
    return values


def find_warning(report: dict[str, Any]) -> str:
    """Say it when a score is no better than its control; "" when it is, or when there is no control.

    BLEU counts as better when its whole 95 % interval lies above the control.
    """
    control_bleu, control_wer = report.get("control_bleu"), report.get("control_wer")
    if control_bleu is not None and not report["bleu_low"] > control_bleu:
        found = f"BLEU {report['bleu']:.2f} (95 % from {report['bleu_low']:.2f}) against {control_bleu:.2f}"
    elif control_wer is not None and not report["wer"] < control_wer:
        found = f"WER {report['wer']:.2f} % against {control_wer:.2f} %"
    else:
        return ""
    return (
        f"not better than its control: {found} with the audio of another utterance "
        f"({report['signature']}); the model does not use the audio"
    )


def format_report(report: dict[str, Any]) -> str:
    """Write a score.json as one line for people, signatures included."""
    if report["task"] == "st":
        line = f"BLEU {report['bleu']:.2f} [{report['bleu_low']:.2f}, {report['bleu_high']:.2f}]"
        control = f"BLEU {report['control_bleu']:.2f}" if "control_bleu" in report else "none"
        line += f" ({report['signature']}), chrF {report['chrf']:.2f} ({report['chrf_signature']})"
    else:
        line = f"WER {report['wer']:.2f} % ({report['signature']})"
        line += f", CER {report['cer']:.2f} % ({report['cer_signature']})"
        control = f"WER {report['control_wer']:.2f} %" if "control_wer" in report else "none"
    count = f"{report['num_utterances']} of {report['num_official']} utterances, {report['num_empty']} empty"
    return f"{report['set']}: {line}, control {control}, {count}"


def _shorten(value: float) -> float:
    """Keep four decimals: more are noise, and files stay readable."""
    return round(value, 4)
