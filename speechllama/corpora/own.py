"""What a recipe's own local/prepare.py calls: the utterances of a corpus -> data directories and a report.

    options of the data stage -> run -> prepare(options) -> Utterance ... -> write_sets -> data/<set>/, report.md

The page docs/your_own_corpus.md has a whole local/prepare.py. Nothing here knows a corpus, a language or a script.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from speechllama.cli import run_main
from speechllama.corpora.options import DataOptions
from speechllama.corpora.options import OwnOptions as OwnOptions  # what a local/prepare.py needs is all in this module
from speechllama.data.clips import read_durations
from speechllama.data.corpus_report import SourceReport, SplitReport, log_reports, write_report
from speechllama.data.data_dir import TARGET_TABLE, DataDir, write_data_dir
from speechllama.data.durations_check import MAX_OVERSHOOT
from speechllama.data.recordings import TO_THE_END
from speechllama.faults import first_ten, raise_all
from speechllama.options import UsageError, format_help, parse
from speechllama.progress import setup_logging
from speechllama.text.clean import normalise_text
from speechllama.text.filter import TextFilter

TRAIN, TRAINED_ON = "train", ("train", "dev")
NO_RECORDING, UNREADABLE, BEYOND = (
    "no such recording",
    "unreadable recording",
    "segment beyond the recording",
)  # reasons
FAULTS = (NO_RECORDING, UNREADABLE, BEYOND)
WHOLE_SECONDS = 0.01  # a segment that lacks no more of its recording than this is all of it
ODD = re.compile(r"[^\w.+-]+")  # what is not in the name of an utterance or speaker


Options = TypeVar("Options", bound=DataOptions)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance, as the corpus has it; white space, names and accents are put in order here.

    Attributes:
        name: Its name, unique in its set.
        speaker: Its speaker; where that is not known, the recording's name.
        recording: Path of an audio file.
        language: Code of the language that is spoken: "qu".
        transcript: What is said.
        translation: The target text; "" in a test set without references.
        start: Where it begins in the recording, in seconds.
        end: Where it ends; None: with the recording.
        target: Code of the language of the translation; "": that of `--target_lang`.
        where: Where the corpus has it, for the report: "train.yaml:17".
    """

    name: str
    speaker: str
    recording: str
    language: str
    transcript: str
    translation: str = ""
    start: float = 0.0
    end: float | None = None
    target: str = ""
    where: str = ""

    @property
    def is_segment(self) -> bool:
        """Whether it is a part of its recording."""
        return self.start > 0 or self.end is not None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row of a corpus that is no utterance; it is counted in the report.

    Attributes:
        reason: Why, in a few words: "segment without times".
        where: Where it is, and what was found: "train.yaml:17: offset 'abc'".
        language: Code of the language that is spoken.
        is_fault: Whether it counts for `max_bad_share`; False for what is left out by choice.
    """

    reason: str
    where: str
    language: str
    is_fault: bool = True


@dataclass(frozen=True)
class Limits:
    """What is kept. Those of duration and text hold for training: other sets stay whole.

    Attributes:
        min_duration: Shortest training utterance in seconds.
        max_duration: Longest one.
        text: Limits of characters a second; `check_characters` also asks for the scripts of both languages, that of the
            translation being the utterance's own or `--target_lang`.
        max_bad_share: Share of a set that may be faulty: without a readable recording, or `Unusable`. One always may.
    """

    min_duration: float = 0.3
    max_duration: float = 30.0
    text: TextFilter = TextFilter(check_characters=False)
    max_bad_share: float = 0.05


def run(kind: type[Options], prepare: Callable[[Options], None]) -> None:
    """Be a program: read the options of stage data, print --help, prepare the corpus, and end with an exit status.

    Args:
        kind: `OwnOptions`, or a dataclass that extends it.
        prepare: What writes the data directories.
    """

    def main() -> int:
        try:
            options = parse(kind, sys.argv[1:])
        except UsageError as error:
            print(f"{sys.argv[0]}: {error} (--help lists the options)", file=sys.stderr)
            return 2
        if options.help:
            print(f"{kind.__doc__}\n{format_help(options)}")
            return 0
        setup_logging()
        prepare(options)
        return 0

    run_main(main)


def write_sets(
    sets: Mapping[str, Iterable[Utterance | Unusable]], options: DataOptions, title: str, limits: Limits | None = None
) -> list[SourceReport]:
    """Write a data directory of each set into `--datadir`, and what was kept and dropped.

    Args:
        sets: Utterances by set: train, dev, test, and further ones; and rows that are only counted.
        options: Of stage data.
        title: Name of the corpus, the heading of report.md.
        limits: What is kept.

    Returns:
        Reports, a language each.

    Raises:
        ValueError: A set has no utterance left, or too many that are faulty.
    """
    limits = limits or Limits()
    output_dir, target = Path(options.datadir), str(getattr(options, "target_lang", limits.text.target))
    reading = _Reading(tuple(sets), replace(limits, text=replace(limits.text, target=target)), options.nj)
    written: dict[str, DataDir] = {}
    faults: list[str] = []
    for name, utterances in sets.items():
        given = [*utterances]
        written[name] = _tables(output_dir / name, _judge(reading, name, given), target)
        faults += _find_bad_share(reading, name, len(given))
    shown = [reading.reports[language] for language in sorted(reading.reports)]
    for report in shown:
        report.table = report.targets = str(getattr(options, "corpus", "")) or title
        report.num_rows = sum(split.rows for split in report.splits.values())
    write_report(shown, output_dir, title)
    log_reports(shown)
    empty = [name for name, data in written.items() if not data.utterances]
    if empty:
        faults.append(f"{', '.join(empty)}: no utterance is left; see why in {output_dir}/report.md")
    raise_all(faults, "corpus")
    for data in written.values():
        write_data_dir(data, data.path)
    return shown


@dataclass(frozen=True)
class _Reading:
    """How the sets are read, and the reports of what was read, by language."""

    sets: tuple[str, ...]
    limits: Limits
    num_threads: int
    reports: dict[str, SourceReport] = field(default_factory=dict)
    bad: dict[str, list[str]] = field(default_factory=dict)  # faulty utterances, by set

    def drop(self, set_name: str, left_out: Unusable) -> None:
        """Count what is left out."""
        self.split(left_out.language, set_name).dropped.add(left_out.reason, left_out.where)
        if left_out.is_fault:
            self.bad.setdefault(set_name, []).append(f"{left_out.reason}: {left_out.where}")

    def split(self, language: str, set_name: str) -> SplitReport:
        """Give the counts of a language in a set."""
        if language not in self.reports:
            splits = {name: SplitReport() for name in self.sets}
            self.reports[language] = SourceReport(language, "", "", splits=splits)
        return self.reports[language].splits[set_name]


@dataclass(frozen=True, slots=True)
class _Kept:
    """An utterance that is kept, with the name of its line and its duration in seconds."""

    key: str
    speaker: str
    utterance: Utterance
    duration: float


def _judge(reading: _Reading, set_name: str, given: Sequence[Utterance | Unusable]) -> list[_Kept]:
    """Count the utterances of a set in the reports; give those that are kept."""
    spoken = [each for each in given if isinstance(each, Utterance)]
    places = dict.fromkeys(utterance.recording for utterance in spoken)
    lengths = dict(zip(places, read_durations([*places], reading.num_threads), strict=True))
    needs = _Needs.of(set_name, spoken)
    kept: dict[str, _Kept] = {}
    speakers: dict[str, set[str]] = {}
    for row in given:
        split = reading.split(row.language, set_name)
        split.rows += 1
        found = row if isinstance(row, Unusable) else _keep(_clean(row), lengths[row.recording])
        if isinstance(found, _Kept):
            reason = needs.find_reason(found, reading.limits) or ("duplicate name" if found.key in kept else "")
            found = _leave_out(reason, found.utterance) if reason else found
        if isinstance(found, Unusable):
            reading.drop(set_name, found)
            continue
        kept[found.key] = found
        own = speakers.setdefault(row.language, set())
        own.add(found.speaker)
        split.kept += 1
        split.hours += found.duration / 3600
        split.speakers = len(own)
    return [*kept.values()]


def has_reference(utterance: Utterance) -> bool:
    """Whether an utterance has a translation."""
    return bool(normalise_text(utterance.translation))


def _clean(utterance: Utterance) -> Utterance:
    """Put texts in order: composed accents, single spaces."""
    transcript, translation = normalise_text(utterance.transcript), normalise_text(utterance.translation)
    return replace(utterance, transcript=transcript, translation=translation)


def _leave_out(reason: str, utterance: Utterance, what: str = "") -> Unusable:
    """Say why an utterance is left out, and where it is."""
    where = f"{utterance.where or utterance.name}: {what or f'{utterance.recording}, {utterance.transcript!r}'}"
    return Unusable(reason, where, utterance.language, reason in FAULTS)


def _keep(utterance: Utterance, length: float | str) -> _Kept | Unusable:
    """Name and measure an utterance; or say why it has no speech."""
    if isinstance(length, str):
        if Path(utterance.recording).is_file():
            return _leave_out(UNREADABLE, utterance, length)
        return _leave_out(NO_RECORDING, utterance)
    end = length if utterance.end is None else min(utterance.end, length)
    if not 0 <= utterance.start < end or (utterance.end or 0.0) > length + MAX_OVERSHOOT:
        span = f"{utterance.start:g} to {'its end' if utterance.end is None else format(utterance.end, 'g')} s"
        return _leave_out(BEYOND, utterance, f"{span} of {utterance.recording}, which has {length:.3f} s")
    if utterance.start == 0 and end >= length - WHOLE_SECONDS:
        utterance, end = replace(utterance, end=None), length
    speaker = ODD.sub("_", utterance.speaker) or "unknown"
    name = ODD.sub("_", utterance.name)
    key = name if name.startswith(speaker) else f"{speaker}-{name}"
    return _Kept(key, speaker, utterance, end - utterance.start)


@dataclass(frozen=True)
class _Needs:
    """Which texts the utterances of a set need: all in training, elsewhere those that the set has at all."""

    transcript: bool
    translation: bool
    is_training: bool

    @classmethod
    def of(cls, set_name: str, utterances: Sequence[Utterance]) -> _Needs:
        """Look at the texts that a set has."""
        is_trained_on = set_name in TRAINED_ON
        has_transcripts = is_trained_on or any(normalise_text(each.transcript) for each in utterances)
        return cls(has_transcripts, is_trained_on or any(map(has_reference, utterances)), set_name == TRAIN)

    def find_reason(self, found: _Kept, limits: Limits) -> str:
        """Say why an utterance with speech is left out; "" if it is kept."""
        utterance, duration = found.utterance, found.duration
        if not utterance.transcript and self.transcript:
            return "empty transcript"
        if not utterance.translation and self.translation:
            return "empty translation"
        if not self.is_training:
            return ""
        if duration < limits.min_duration:
            return f"shorter than {limits.min_duration:g} s"
        if duration > limits.max_duration:
            return f"longer than {limits.max_duration:g} s"
        texts = (utterance.transcript, utterance.translation)
        text = replace(limits.text, target=utterance.target or limits.text.target)
        return text.judge_characters(utterance.language, *texts) or text.judge_ratio(*texts, duration)


def _tables(path: Path, kept: Sequence[_Kept], target: str) -> DataDir:
    """Lay the tables of a data directory out.

    Recordings are named where some utterances are parts of them, target languages where some are not the set's.
    """
    tables: dict[str, dict[str, str]] = {
        "text": {each.key: each.utterance.translation for each in kept},
        "src_text": {each.key: each.utterance.transcript for each in kept},
        "utt2spk": {each.key: each.speaker for each in kept},
        "utt2lang": {each.key: each.utterance.language for each in kept},
        "utt2dur": {each.key: f"{each.duration:.3f}" for each in kept},
    }
    targets = {each.key: each.utterance.target or target for each in kept}
    if {*targets.values()} - {target}:
        tables[TARGET_TABLE] = targets
    absolute = {each.key: str(Path(each.utterance.recording).absolute()) for each in kept}
    if not any(each.utterance.is_segment for each in kept):
        return DataDir(path, {"wav.scp": absolute, **tables})
    names = {place: f"{ODD.sub('_', Path(place).stem)}_{_digest(place)}" for place in absolute.values()}
    segments = {}
    for each in kept:
        end = TO_THE_END if each.utterance.end is None else each.utterance.start + each.duration
        segments[each.key] = f"{names[absolute[each.key]]} {each.utterance.start:g} {end:.3f}"
    return DataDir(path, {"wav.scp": {name: place for place, name in names.items()}, "segments": segments, **tables})


def _digest(place: str) -> str:
    return hashlib.sha1(place.encode()).hexdigest()[:8]


def _find_bad_share(reading: _Reading, name: str, total: int) -> list[str]:
    """Say that more of a set is faulty than may be."""
    bad, share = reading.bad.get(name, []), reading.limits.max_bad_share
    if len(bad) <= max(1, share * total):
        return []
    return [f"{name}: {len(bad):,} of {total:,} utterances are faulty, at most {share:.0%} may be:{first_ten(bad)}"]
