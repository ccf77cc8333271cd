"""Report on CTC: what the encoder recognises, and how much the compressor shortens.

    <ctc>/compressed_<X>/<set>/{ctc_hyp, utt2num_frames} + dump/<set>/ -> report.json, report.md

The compression ratio counts 10 ms feature frames for each vector that the LLM reads, over a whole set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechllama.constants import SUBSAMPLING
from speechllama.faults import InputError, first_ten
from speechllama.files import atomic_write, read_table, write_json
from speechllama.frontend.feature_format import read_format
from speechllama.markdown import format_signatures, format_table
from speechllama.report.score import Pairs, has_texts, pair, score_recognition, split_by_language

COMPRESSED_PREFIX = "compressed_"
BLANK_SHARE = 0.1  # of utterances without a unit, from which on the report warns: a trained CTC has a few in a thousand
NONE = "-"  # a cell without a value
CTC_COLUMNS = [
    "set",
    "language",
    "WER %",
    "CER %",
    "feature frames per vector",
    "encoder frames per vector",
    "utterances (empty)",
]


def ctc_report_path(output_dir: str | Path) -> Path:
    """Name the report of a CTC encoder, for programs; the one for people has the suffix .md."""
    return Path(output_dir) / "report.json"


def read_lengths(path: str | Path, utterances: Sequence[str]) -> dict[str, int]:
    """Read utt2num_frames for some utterances.

    Args:
        path: The table; it may hold further utterances.
        utterances: Whose lengths are wanted.

    Returns:
        Number of frames (at least 1) by utterance.

    Raises:
        ValueError: Utterances are missing, or lengths are no whole numbers above 0.
    """
    table = read_table(path)
    missing = [utterance for utterance in utterances if utterance not in table]
    wrong = [
        f"{utterance} {table[utterance]!r}"
        for utterance in utterances
        if utterance in table and not (table[utterance].isdecimal() and int(table[utterance]) > 0)
    ]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(utterances)} utterances have no length; "
            f"run the stage that writes it again:{first_ten(missing)}"
        )
    if wrong:
        raise InputError(f"{path}: {len(wrong)} lengths are no whole numbers above 0:{first_ten(wrong)}")
    return {utterance: int(table[utterance]) for utterance in utterances}


def report_compression(
    frames: Mapping[str, int], vectors: Mapping[str, int], utterances: Iterable[str]
) -> dict[str, float | int]:
    """Compare the lengths of some utterances before and after compression.

    Args:
        frames: Feature frames of 10 ms, whatever the front end, by utterance.
        vectors: Compressed vectors by utterance.
        utterances: Which of them.

    Returns:
        The sums, feature frames per vector, and 40 ms encoder frames per vector.
    """
    utterances = list(utterances)
    num_frames = sum(frames[utterance] for utterance in utterances)
    num_vectors = sum(vectors[utterance] for utterance in utterances)
    return {
        "num_feature_frames": num_frames,
        "num_vectors": num_vectors,
        "compression_ratio": round(num_frames / num_vectors, 4),
        "encoder_frames_per_vector": round(num_frames / num_vectors / SUBSAMPLING, 4),
    }


def report_set(compressed_dir: str | Path, data_dir: str | Path, text_name: str) -> dict[str, Any]:
    """Score the greedy CTC text of one set and measure its compression, overall and per language.

    Args:
        compressed_dir: Compressed data directory of the set, with `ctc_hyp` and `utt2num_frames`.
        data_dir: Its features' data directory, with `utt2num_frames`, `utt2lang` and the text.
        text_name: The text CTC was trained on: "src_text" or "text".

    Returns:
        `wer` and `cer` in percent with signatures and counts, the values of `report_compression`, and the
        same for each language under `per_language`.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: Tables do not fit each other.
    """
    compressed_dir, data_dir = Path(compressed_dir), Path(data_dir)
    hypothesis_file = compressed_dir / "ctc_hyp"
    hypotheses, references = read_table(hypothesis_file), read_table(data_dir / text_name)
    has_references = has_texts(references)
    if not has_references:  # a set that is only decoded
        references = hypotheses
    pairs = pair(hypotheses, references, str(hypothesis_file), may_be_empty=not has_references)
    features = read_format(data_dir).shape
    lengths = read_lengths(data_dir / "utt2num_frames", pairs.utterances)
    frames = {utterance: features.log_mel_frames(length) for utterance, length in lengths.items()}
    vectors = read_lengths(compressed_dir / "utt2num_frames", pairs.utterances)
    parts = split_by_language(pairs, read_table(data_dir / "utt2lang"))
    values: dict[str, dict[str, Any]] = {}
    for name, part in [("", pairs), *parts.items()]:
        values[name] = {
            **(_error_rates(part) if has_references else {}),
            "num_utterances": len(part.utterances),
            "num_empty": part.num_empty,
            **report_compression(frames, vectors, part.utterances),
        }
    overall = values.pop("")
    return {**overall, "per_language": values}


def _error_rates(pairs: Pairs) -> dict[str, float | str]:
    """Score the greedy text, as the keys of report.json."""
    score = score_recognition(pairs, num_bootstrap=1)
    rates = {"wer": round(score.wer, 4), "cer": round(score.cer, 4)}
    return {**rates, "signature": score.signature, "cer_signature": score.cer_signature}


def find_blank(report: Mapping[str, Any], max_share: float = BLANK_SHARE) -> list[str]:
    """Say in which sets CTC writes nothing for more than a share of the utterances: it has not learned to hear.

    Args:
        report: From `report_ctc`; sets by name under "sets".
        max_share: The largest share that is not worth a word.
    """
    found = []
    for name, values in report["sets"].items():
        num_empty, num_utterances = values["num_empty"], values["num_utterances"]
        if num_empty > max_share * num_utterances:
            found.append(
                f"{name}: CTC writes nothing for {num_empty:,} of {num_utterances:,} utterances "
                f"({num_empty / num_utterances:.0%}): it has learned little more than blank, and the LLM would get "
                "about one vector for each of them. Train CTC longer (--ctc_options '--max_epoch N', or max_epoch in "
                "conf/ctc.yaml), with more data or fewer units (--ctc_units), before anything is trained on it"
            )
    return found


def report_ctc(
    compressed_dir: str | Path, data_root: str | Path, sets: Sequence[str], text_name: str = "src_text"
) -> dict[str, Any]:
    """Report all sets of one compressor.

    Args:
        compressed_dir: Directory `compressed_<compressor>` with one compressed data directory for each set.
        data_root: Directory with the features' data directory of each set.
        sets: Names of the sets, at least one.
        text_name: The text CTC was trained on.

    Returns:
        {"compressor", "text_name", "sets": {set: values of `report_set`}}, and "warnings" where CTC writes nothing.

    Raises:
        ValueError: There is no set.
    """
    if not sets:
        raise InputError("sets: found none, expected at least one, as in --sets 'dev test'")
    compressed_dir, data_root = Path(compressed_dir), Path(data_root)
    report: dict[str, Any] = {
        "compressor": compressed_dir.resolve().name.removeprefix(COMPRESSED_PREFIX),
        "text_name": text_name,
        "sets": {name: report_set(compressed_dir / name, data_root / name, text_name) for name in sets},
    }
    warnings = find_blank(report)
    return {**report, "warnings": warnings} if warnings else report


def format_ctc_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Lay a CTC report out as rows: set, language, WER, CER, ratio, encoder frames, utterances (empty)."""
    rows = []
    for set_name, values in report["sets"].items():
        for language, part in [("all", values), *values["per_language"].items()]:
            count = f"{part['num_utterances']} ({part['num_empty']})"
            numbers = [part.get(key) for key in ("wer", "cer", "compression_ratio", "encoder_frames_per_vector")]
            rows.append([set_name, language, *(NONE if n is None else f"{n:.2f}" for n in numbers), count])
    return rows


def collect_ctc_signatures(report: Mapping[str, Any]) -> list[str]:
    """Name the signatures of all rates of a CTC report."""
    keys = ("signature", "cer_signature")
    return [values[key] for values in report["sets"].values() for key in keys if key in values]


def write_ctc_report(report: Mapping[str, Any], output_dir: str | Path) -> None:
    """Write report.json and report.md.

    Args:
        report: From `report_ctc`.
        output_dir: Where to, usually the CTC experiment.
    """
    path = ctc_report_path(output_dir)
    with atomic_write(path.with_suffix(".md")) as stream:
        stream.write(f"# CTC encoder, compressor {report['compressor']}\n\n")
        stream.write(f"Greedy CTC text against `{report['text_name']}`; a feature frame is 10 ms, an ")
        stream.write("encoder frame 40 ms, a vector one position of the LLM's input.\n\n")
        stream.write(format_table(CTC_COLUMNS, format_ctc_rows(report)))
        stream.write("\n" + format_signatures(collect_ctc_signatures(report)))
        stream.writelines(f"\nWARNING {warning}\n" for warning in report.get("warnings", ()))
    write_json(path, report)


def format_ctc_summary(report: Mapping[str, Any]) -> list[str]:
    """Write one line for each set, signatures included, for the log."""
    lines = []
    for name, values in report["sets"].items():
        rates = "no references"
        if "wer" in values:
            rates = f"WER {values['wer']:.2f} % ({values['signature']}), CER {values['cer']:.2f} % "
            rates += f"({values['cer_signature']})"
        ratio = f"{values['compression_ratio']:.2f} feature frames per vector"
        lines.append(f"{name}: {rates}, {ratio}, {values['num_utterances']} utterances, {values['num_empty']} empty")
    return lines
