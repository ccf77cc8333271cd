"""Prepare LibriSpeech: its parts, divided by part and by speaker -> data/{train,dev,test} and a report."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.corpora.librispeech.divisions import NUM_UTTERANCES, Division
from speechllama.corpora.librispeech.files import Place, bytes_to_unpack, find_part
from speechllama.corpora.librispeech.options import LibriSpeechOptions
from speechllama.corpora.librispeech.rows import DUPLICATE, FAULTS, NO_RESTORED, UNREADABLE, Utterance, read_part
from speechllama.data.clips import read_durations
from speechllama.data.corpus_report import SourceReport, SplitReport, write_report
from speechllama.data.data_dir_writer import DataDirWriter
from speechllama.data.download import is_url
from speechllama.faults import first_ten, raise_all
from speechllama.files import read_table

TABLES = ("wav.scp", "text", "src_text", "utt2spk", "utt2lang", "utt2dur")
LANGUAGE = "en"
SECONDS_EACH = 12.3  # mean over the 960 h of training


@dataclass(frozen=True)
class Row:
    """An utterance with the set it belongs to and the report that counts it."""

    set_name: str
    report: SplitReport
    utterance: Utterance


@dataclass
class Reading:
    """All that is read of the corpus.

    Attributes:
        reports: What was kept and dropped, by part.
        rows: The utterances.
        sets: Sets of each speaker.
    """

    reports: list[SourceReport] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    sets: dict[str, set[str]] = field(default_factory=dict)


def place_of(options: LibriSpeechOptions) -> Place:
    """Say where the corpus is; the paths in wav.scp are absolute, so that other recipes can read its sets."""
    source = options.place if is_url(options.place) else str(Path(options.place).absolute())
    return Place(source, Path(options.downloads).absolute())


def prepare_librispeech(options: LibriSpeechOptions) -> list[SourceReport]:
    """Make data directories, and report.json and report.md next to them.

    The transcript is the target as well as what CTC learns. Nothing is written, but for the report, unless all is well.

    Args:
        options: Where the corpus is, and what is taken of it.

    Returns:
        What was kept and dropped, by part.

    Raises:
        ValueError: Parts or speakers are missing, a speaker is in two sets, or too much is faulty; the message lists
            all that was found.
    """
    division, output_dir = options.chosen_division, Path(options.datadir)
    raise_all(division.find_faults(options.further_parts), "division")
    reading = read_corpus(options, division)
    raise_all(find_speaker_faults(reading, division), "division")
    restore_texts(reading, options)
    reading.rows.sort(key=lambda row: row.utterance.name.encode())
    drop_duplicates(reading)
    names = [*SPLITS, *options.further_parts]
    faults: list[str] = []
    with ExitStack() as stack:
        writers = {name: stack.enter_context(DataDirWriter(output_dir / name, TABLES)) for name in names}
        write_rows(reading.rows, writers, options)
        write_report(reading.reports, output_dir, "LibriSpeech")
        for report in reading.reports:
            faults += find_bad_share(report, options.max_bad_share)
        empty = [name for name in names if not writers[name].num_utterances]
        if empty:
            faults.append(f"{', '.join(empty)}: no utterance is left; see why in {output_dir}/report.md")
        raise_all(faults, "corpus")
    return reading.reports


def read_corpus(options: LibriSpeechOptions, division: Division) -> Reading:
    """Find and read every part; those that are missing are one message."""
    place, reading = place_of(options), Reading()
    wanted = [*division.parts(), *((part, part) for part in options.further_parts)]
    folders: list[Path] = []
    faults: list[str] = []
    for _, part in wanted:
        try:
            folders.append(find_part(place, part))
        except (FileNotFoundError, ValueError) as error:
            faults.append(str(error))
    raise_all(faults, "corpus")
    for (set_name, part), folder in zip(wanted, folders, strict=True):
        _read_part(SourceReport(part, str(folder), str(folder)), set_name, division, reading)
    return reading


def _read_part(report: SourceReport, set_name: str, division: Division, reading: Reading) -> None:
    """Read a part into the reading; `set_name` is the set of those of its speakers who are not held out."""
    if set_name not in SPLITS:
        report.splits = {set_name: SplitReport()}

    def report_of(speaker: str) -> SplitReport:
        name = division.set_of(set_name, speaker)
        reading.sets.setdefault(speaker, set()).add(name)
        return report.splits[name]

    for utterance in read_part(Path(report.table), report_of):
        name = division.set_of(set_name, utterance.speaker)
        reading.rows.append(Row(name, report.splits[name], utterance))
    report.num_rows = sum(split.rows for split in report.splits.values())
    reading.reports.append(report)


def find_speaker_faults(reading: Reading, division: Division) -> list[str]:
    """Name the speakers that are held out and not there, and those of training who are in another set as well."""
    held_out = (*division.dev_speakers, *division.test_speakers)
    parts = ", ".join(division.train_parts)
    faults = [
        f"speaker {speaker} is held out, but not in {parts}; see --dev_speakers and --test_speakers, and --division"
        for speaker in held_out
        if speaker not in reading.sets
    ]
    for speaker, sets in sorted(reading.sets.items()):
        if "train" in sets and len(sets) > 1:
            faults.append(
                f"speaker {speaker} is in {', '.join(sorted(sets))}; a speaker of training is in no other set"
            )
    return faults


def restore_texts(reading: Reading, options: LibriSpeechOptions) -> None:
    """Write the texts as the options say: in lower case, as they are, or from a table of restored ones."""
    if not options.texts:
        if options.case == "lower":
            reading.rows = [
                replace(row, utterance=replace(row.utterance, text=row.utterance.text.lower())) for row in reading.rows
            ]
        return
    texts = read_table(options.texts)
    kept = []
    for row in reading.rows:
        text = " ".join(texts.pop(row.utterance.name, "").split())
        if text:
            kept.append(replace(row, utterance=replace(row.utterance, text=text)))
        else:
            row.report.dropped.add(NO_RESTORED, f"{options.texts}: no text of {row.utterance.name}")
    reading.rows = kept
    if texts:
        logging.warning("%s: %s texts of utterances that are in no part", options.texts, f"{len(texts):,}")


def drop_duplicates(reading: Reading) -> None:
    """Keep the first of the utterances that have one name, as of a part that is there twice."""
    counts = Counter(row.utterance.name for row in reading.rows)
    if len(counts) == len(reading.rows):
        return
    kept: dict[str, Row] = {}
    for row in reading.rows:
        name = row.utterance.name
        if name in kept:
            row.report.dropped.add(DUPLICATE, f"{row.utterance.audio}: {kept[name].utterance.audio} is read")
        kept.setdefault(name, row)
    reading.rows = list(kept.values())


def write_rows(rows: list[Row], writers: dict[str, DataDirWriter], options: LibriSpeechOptions) -> None:
    """Measure the recordings and write those that are good; a damaged one is counted and named."""
    speakers: dict[int, set[str]] = {}
    durations = read_durations([row.utterance.audio for row in rows], options.nj)
    for row, duration in zip(rows, durations, strict=True):
        utterance, report = row.utterance, row.report
        if isinstance(duration, str):
            report.dropped.add(UNREADABLE, duration)
            continue
        reason = judge_duration(duration, options) if row.set_name == "train" else ""
        if reason:
            report.dropped.add(reason, f"{utterance.audio}: {duration:.3f} s")
            continue
        values = (utterance.audio, utterance.text, utterance.text, utterance.speaker, LANGUAGE, f"{duration:.3f}")
        writers[row.set_name].add(utterance.name, values)
        own = speakers.setdefault(id(report), set())
        own.add(utterance.speaker)
        report.kept += 1
        report.hours += duration / 3600
        report.speakers = len(own)


def judge_duration(duration: float, options: LibriSpeechOptions) -> str:
    """Say why an utterance is not for training; "" if it is."""
    if duration < options.min_duration:
        return f"shorter than {options.min_duration:g} s"
    return f"longer than {options.max_duration:g} s" if duration > options.max_duration else ""


def find_bad_share(report: SourceReport, max_bad_share: float) -> list[str]:
    """Say that more of a part is faulty than may be; one utterance always may."""
    drops = [split.dropped for split in report.splits.values()]
    bad = sum(drop.counts.get(reason, 0) for drop in drops for reason in FAULTS)
    if bad <= max(1, max_bad_share * report.num_rows):
        return []
    examples = [f"{reason}: {text}" for drop in drops for reason in FAULTS for text in drop.examples.get(reason, [])]
    return [
        f"{report.name}: {bad:,} of {report.num_rows:,} utterances are faulty, at most {max_bad_share:.0%} may be "
        f"(--max_bad_share); get them again below {report.table}, or raise the share:{first_ten(examples)}"
    ]


def find_sources(options: LibriSpeechOptions) -> tuple[list[str], list[str]]:
    """List the files that the corpus is made of, as far as they are there: transcripts, and archives not unpacked."""
    place = place_of(options)
    tables: list[str] = []
    archives: list[str] = []
    for part in [*(part for _, part in options.chosen_division.parts()), *options.further_parts]:
        folder = place.folder(part)
        if folder is not None:
            tables += map(str, sorted(folder.glob("*/*/*.trans.txt")))
        elif not is_url(place.source) and place.archive(part).is_file():
            archives.append(str(place.archive(part)))
    if options.texts and Path(options.texts).is_file():
        tables.append(options.texts)
    return tables, archives


def estimate_size(options: LibriSpeechOptions) -> tuple[Counter[str], float, list[str]]:
    """Count what is there before anything is unpacked.

    Returns:
        Utterances of each set, bytes that archives will take, and what is wrong or missing.
    """
    division, place = options.chosen_division, place_of(options)
    faults = division.find_faults(options.further_parts)
    rows: Counter[str] = Counter()
    size = 0.0
    for set_name, part in division.parts():
        folder, archive = place.folder(part), place.archive(part)
        if folder is not None:
            for speaker in sorted(path for path in folder.iterdir() if path.is_dir()):
                lines = sum(path.read_bytes().count(b"\n") for path in speaker.glob("*/*.trans.txt"))
                rows[division.set_of(set_name, speaker.name)] += lines
            continue
        rows[set_name] += NUM_UTTERANCES.get(part, 0)
        if archive.is_file():
            size += bytes_to_unpack(archive, place.unpacked(part))
        elif not is_url(place.source):
            faults.append(place.describe_missing(part))
    return rows, size, faults
