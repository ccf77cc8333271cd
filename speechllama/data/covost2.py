"""CoVoST 2: validated.tsv, clips, covost_v2.<lang>_en.tsv -> data/{train,dev,test} and a report."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.data.audio import read_duration
from speechllama.data.covost2_files import Language, clip_name, find_language, list_clips
from speechllama.data.covost2_report import Drops, LanguageReport, SplitReport, write_report
from speechllama.data.data_dir import DataDir, write_data_dir
from speechllama.data.tsv import read_tsv
from speechllama.progress import progress

SPLITS = ("train", "dev", "test")
# CoVoST 2 marks sentences that were in CoVoST 1; its own script takes them as training data.
SPLIT_NAMES = {"train": "train", "train_covost": "train", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class CorpusOptions:
    """What is kept.

    Attributes:
        min_duration: Shortest clip in seconds.
        max_duration: Longest clip in seconds.
        num_threads: Threads that read headers.
    """

    min_duration: float = 0.3
    max_duration: float = 30.0
    num_threads: int = 4


@dataclass(frozen=True)
class Clip:
    """One translated clip."""

    utterance: str
    speaker: str
    audio: Path
    sentence: str
    translation: str


@dataclass
class _Rows:
    """CoVoST 2's rows of one language by clip: split and translation."""

    splits: dict[str, str] = field(default_factory=dict)
    translations: dict[str, str] = field(default_factory=dict)


def prepare_covost2(
    common_voice: str | Path,
    covost2: str | Path,
    languages: Sequence[str],
    output_dir: str | Path,
    options: CorpusOptions | None = None,
) -> list[LanguageReport]:
    """Make data directories, all languages together, and report.json and report.md beside them.

    Args:
        common_voice: Folder that holds <lang>/validated.tsv, or cv-corpus-*/<lang>/validated.tsv.
        covost2: Folder that holds covost_v2.<lang>_en.tsv, or <lang>/covost_v2.<lang>_en.tsv.
        languages: Names as in either corpus; "zh" finds zh-CN.
        output_dir: Gets train, dev, test and the report.
        options: What is kept.

    Returns:
        What was kept and dropped, by language.

    Raises:
        FileNotFoundError: A language's files are missing; the message says what is there instead.
        ValueError: A table lacks a column, or a language or a split has no utterance at all.
    """
    options = options or CorpusOptions()
    found: dict[str, Language] = {}  # all of them first: a missing one is reported before any work
    for language in languages:
        place = find_language(Path(common_voice), Path(covost2), language)
        found.setdefault(place.name, place)
    if not found:
        raise ValueError("no language is given; expected --langs 'de fr ...'")
    merged = {split: DataDir(Path(output_dir) / split, _empty_tables()) for split in SPLITS}
    reports = []
    for place in found.values():
        report = LanguageReport(place.name, str(place.folder / "validated.tsv"), str(place.table))
        for split, clips in _read_language(place, report).items():
            _add_clips(merged[split], clips, place.name, report.splits[split], options)
        reports.append(report)
    write_report(reports, Path(output_dir))
    empty = [report.name for report in reports if not any(split.kept for split in report.splits.values())]
    empty += [split for split in SPLITS if not merged[split].table("text")]
    if empty:
        raise ValueError(f"{', '.join(empty)}: no utterance is left; see why in {output_dir}/report.md")
    for data in merged.values():
        write_data_dir(data, data.path)
    return reports


def normalise_text(text: str) -> str:
    """Compose accents (NFC) and make each run of white space one space; case and punctuation stay."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _read_language(place: Language, report: LanguageReport) -> dict[str, list[Clip]]:
    """Join both tables of a language on the clip, in the order of Common Voice."""
    rows = _read_translations(place, report)
    audio = list_clips(place.folder / "clips")
    clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    table = place.folder / "validated.tsv"
    faults: list[str] = []
    for number, (client, path, sentence) in read_tsv(table, ("client_id", "path", "sentence"), faults):
        report.num_validated += 1
        clip, where = clip_name(path), f"{table}:{number}"
        if clip not in rows.splits:
            continue  # validated, but nobody translated it: most of Common Voice
        if clip in seen:
            report.dropped.add("duplicate clip in validated.tsv", f"{where}: {path!r}")
            continue
        seen.add(clip)
        split, translation = rows.splits[clip], normalise_text(rows.translations[clip])
        dropped = report.splits[split].dropped
        if clip not in audio:
            dropped.add("no such clip", f"{where}: {place.folder / 'clips' / path}")
        elif not normalise_text(sentence):
            dropped.add("empty sentence", f"{where}: {path}")
        elif not translation:
            dropped.add("empty translation", f"{place.table}: {path}")
        elif not client.strip():
            dropped.add("no speaker", f"{where}: {path}")
        else:
            speaker = f"{place.name}_{hashlib.sha1(client.strip().encode()).hexdigest()[:16]}"
            sentence = normalise_text(sentence)
            clips[split].append(Clip(f"{speaker}-{clip}", speaker, audio[clip], sentence, translation))
    report.dropped.extend("bad row in validated.tsv", faults)
    for clip, split in rows.splits.items():
        if clip not in seen:
            report.splits[split].dropped.add("not in validated.tsv", f"{place.table}: {clip}")
    report.note_overlap({split: [clip.sentence for clip in clips[split]] for split in SPLITS})
    return clips


def _read_translations(place: Language, report: LanguageReport) -> _Rows:
    """Read CoVoST 2's table; a clip that is in two splits stays in test before dev before train."""
    rows = _Rows()
    faults: list[str] = []
    for number, (path, translation, name) in read_tsv(place.table, ("path", "translation", "split"), faults):
        clip, where, split = clip_name(path), f"{place.table}:{number}", SPLIT_NAMES.get(name.strip())
        if split is None:
            report.dropped.add("unknown split", f"{where}: {name!r}, expected {', '.join(SPLIT_NAMES)}")
            continue
        report.splits[split].rows += 1
        if not clip or any(mark.isspace() or mark == "/" for mark in clip):
            report.splits[split].dropped.add("bad clip name", f"{where}: {path!r}")
            continue
        earlier = rows.splits.get(clip)
        if earlier == split:
            report.splits[split].dropped.add("duplicate clip", f"{where}: {path}")
            continue
        if earlier is not None:
            winner, loser = sorted((earlier, split), key=SPLITS.index, reverse=True)
            report.splits[loser].dropped.add(f"clip is in {winner} too", f"{where}: {path}")
            if winner == earlier:
                continue
        rows.splits[clip], rows.translations[clip] = split, translation
    report.dropped.extend("bad row in CoVoST 2's table", faults)
    return rows


def _empty_tables() -> dict[str, dict[str, str]]:
    return {name: {} for name in ("wav.scp", "text", "src_text", "utt2spk", "utt2lang", "utt2dur")}


def _add_clips(
    data: DataDir, clips: Sequence[Clip], language: str, report: SplitReport, options: CorpusOptions
) -> None:
    """Measure the clips and add those of a good duration to a data directory."""
    speakers = set()
    for clip, duration in zip(clips, _measure(clips, options.num_threads, report.dropped), strict=True):
        if duration is None:
            continue
        if not options.min_duration <= duration <= options.max_duration:
            kind = "shorter" if duration < options.min_duration else "longer"
            limit = options.min_duration if kind == "shorter" else options.max_duration
            report.dropped.add(f"{kind} than {limit:g} s", f"{clip.audio}: {duration:.3f} s")
            continue
        values = (str(clip.audio), clip.translation, clip.sentence, clip.speaker, language, f"{duration:.3f}")
        for table, value in zip(_empty_tables(), values, strict=True):
            data.tables[table][clip.utterance] = value
        speakers.add(clip.speaker)
        report.kept += 1
        report.hours += duration / 3600
    report.speakers = len(speakers)


def _measure(clips: Sequence[Clip], num_threads: int, dropped: Drops) -> Iterator[float | None]:
    """Read the clips' durations from their headers, in order; None for a clip that cannot be read."""

    def measure(clip: Clip) -> float | str:
        try:
            return read_duration(clip.audio)
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(num_threads) as pool:
        for duration in progress(pool.map(measure, clips), len(clips), "clips"):
            if isinstance(duration, str):
                dropped.add("unreadable clip", duration)
                yield None
            else:
                yield duration
