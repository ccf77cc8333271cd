"""Prepare CoVoST 2: its tables and Common Voice's clips -> data/{train,dev,test} and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from speechllama.constants import SPLITS
from speechllama.corpora.covost2.files import (
    ENGLISH,
    CorpusPlaces,
    Language,
    collecting,
    corpus_name,
    table_name,
)
from speechllama.corpora.covost2.pairs import Pairs, check_targets, drop_tested, held_out_elsewhere
from speechllama.corpora.covost2.published import published_counts
from speechllama.corpora.covost2.rows import (
    NO_CLIP,
    PSEUDO_COLUMNS,
    REMOVED,
    Clip,
    HeldOut,
    held_out_translations,
    pseudo_label_clips,
    read_covost2,
    read_english,
    read_pseudo_labels,
    says_remove,
    untrained_pseudo_labels,
)
from speechllama.data.clips import clip_name, list_clips, read_durations
from speechllama.data.corpus_report import SourceReport, SplitReport, write_report
from speechllama.data.data_dir import TARGET_TABLE
from speechllama.data.data_dir_writer import DataDirWriter
from speechllama.data.tsv import read_header, read_tsv
from speechllama.faults import InputError, first_ten, raise_all
from speechllama.text.filter import TextFilter, sentence_key

UNREADABLE_CLIP = "unreadable clip"  # a reason for dropping
TABLES = ("wav.scp", "text", "src_text", "utt2spk", "utt2lang", "utt2dur")
EnglishTable = Literal["none", "train", "validated"]


@dataclass(frozen=True)
class CorpusOptions:
    """What is taken and what is kept. The limits of duration and text hold for training: dev and test stay whole.

    Attributes:
        english: The table of English speech that is trained with its own transcripts, or "none".
        pseudo_labels: Table of transcripts with machine-translated targets, or None.
        targets: What English is translated into, in place of the languages; () for several languages into one.
        all_as: Name of the only set, which takes the rows of all splits, for testing; "" for the corpus's own splits.
        drop_overlap: Leave training sentences out that dev or test have too; False only reports them, as published
            systems keep them.
        min_duration: Shortest clip in seconds.
        max_duration: Longest clip in seconds.
        text: Limits of the texts; their target language is that of the sources.
        max_bad_share: Clips of a language that may be absent or damaged; one always may.
        max_missing_share: Rows of CoVoST 2 that a language's validated.tsv may lack.
        num_threads: Threads that read headers.
        title: What the report calls the corpus, which may be another one in this form.
    """

    english: EnglishTable = "none"
    pseudo_labels: Path | None = None
    targets: tuple[str, ...] = ()
    all_as: str = ""
    drop_overlap: bool = True
    min_duration: float = 0.3
    max_duration: float = 30.0
    text: TextFilter = field(default_factory=TextFilter)
    max_bad_share: float = 0.05
    max_missing_share: float = 0.5
    num_threads: int = 4
    title: str = "CoVoST 2"

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that are written."""
        return (self.all_as,) if self.all_as else SPLITS

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are written."""
        return (*TABLES, TARGET_TABLE) if self.targets else TABLES


def prepare_covost2(
    sources: CorpusPlaces, languages: Sequence[str], output_dir: str | Path, options: CorpusOptions | None = None
) -> list[SourceReport]:
    """Make data directories, all languages together, and report.json and report.md next to them.

    One language is in memory at a time. Nothing is written, but for the report, unless all is well.

    Args:
        sources: Where the corpora are.
        languages: Names as in either corpus; "zh" finds zh-CN.
        output_dir: Gets train, dev, test and the report.
        options: What is taken and what is kept.

    Returns:
        What was kept and dropped, by language and kind.

    Raises:
        ValueError: Files are missing or do not belong together, or a language or a split has no utterance at all;
            the message lists all that was found.
    """
    options, output_dir = options or CorpusOptions(), Path(output_dir)
    options = replace(options, text=replace(options.text, target=sources.target))
    if not languages:
        raise InputError("no language is given; expected --langs 'de fr ...'")
    check_single_set(options, output_dir)
    if options.pseudo_labels is not None:
        missing = [column for column in PSEUDO_COLUMNS if column not in read_header(options.pseudo_labels)]
        if missing:
            raise InputError(f"{options.pseudo_labels}:1: no column {', '.join(missing)}")
    pseudo = options.pseudo_labels
    if options.english != "none" and sources.target != ENGLISH:
        raise InputError(f"--english {options.english} has English transcripts as targets, not {sources.target}")
    check_targets(options.targets, options.english, pseudo)
    if not options.targets and options.english == "none" and sources.target in languages:
        hint = "; --english train adds English speech with its own transcripts" if sources.target == ENGLISH else ""
        raise InputError(f"CoVoST 2 has no table {table_name(sources.target, sources.target)}{hint}")
    wanted = [*languages, ENGLISH] if options.english != "none" else list(languages)
    wanted = [ENGLISH] if options.targets else wanted
    untrained = untrained_pseudo_labels(pseudo, [corpus_name(name) for name in wanted]) if pseudo else None
    more_clips: Callable[[str], set[str]] = partial(pseudo_label_clips, pseudo) if pseudo else lambda name: set[str]()
    places = Pairs(sources, wanted, options.targets).find(more_clips, options.english)
    faults: list[str] = []
    for place in places:
        with collecting(faults):
            check_belonging(place, options.english, options.max_missing_share, options.max_bad_share)
    raise_all(faults, "corpus")
    english = HeldOut()  # English speech should not say what dev and test should be translated to
    if options.english != "none":
        for text, split in (pair for place in places for pair in held_out_translations(place)):
            english.add_sentence(text, split)
    english.clips = held_out_elsewhere(places)
    reports: list[SourceReport] = []
    with ExitStack() as stack:
        tables = options.tables
        writers = {split: stack.enter_context(DataDirWriter(output_dir / split, tables)) for split in options.sets}
        for place in places:
            with collecting(faults):
                added = _prepare_language(place, writers, options, english)
                reports += added
                for report in added:
                    check_bad_share(report, place, options.max_bad_share)
        shown = [*reports, untrained] if untrained else reports
        write_report(shown, output_dir, options.title)
        empty = [report.name for report in reports if not any(split.kept for split in report.splits.values())]
        empty += [split for split in writers if not writers[split].num_utterances]
        if empty:
            faults.append(f"{', '.join(empty)}: no utterance is left; see why in {output_dir}/report.md")
        raise_all(faults, "corpus")
    return shown


def _prepare_language(
    place: Language, writers: dict[str, DataDirWriter], options: CorpusOptions, held_out: HeldOut
) -> list[SourceReport]:
    """Read, judge and write all clips of one language; `held_out` holds what English speech must not repeat."""
    reports: list[SourceReport] = []
    clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    if place.target:
        options = replace(options, text=replace(options.text, target=place.target))
    if place.table is not None:
        elsewhere, held_out = held_out.clips, HeldOut()
        published = published_counts(place.name, options.text.target)
        validated = str(place.folder / "validated.tsv")
        reports.append(SourceReport(place.label, validated, str(place.table), published=published))
        if options.all_as:
            reports[-1].splits, reports[-1].published = {options.all_as: SplitReport()}, None
        clips = read_covost2(place, reports[-1], held_out)
        if not options.all_as:
            clips["train"] = drop_tested(clips["train"], place, reports[-1], elsewhere)
            clips["train"] = _judge_train(clips["train"], place.name, reports[-1], held_out, options)
        for split in options.sets:
            if split != "train":
                _note_removed(clips[split], split, reports[-1])
    else:
        table = place.folder / f"{options.english}.tsv"
        reports.append(SourceReport(f"{place.name} transcripts", str(table), str(table)))
        clips["train"] = read_english(place, options.english, reports[-1], held_out)
        clips["train"] = _judge_train(clips["train"], place.name, reports[-1], held_out, options)
    rows = [(reports[0], split, clip) for split in options.sets for clip in clips.pop(split)]
    if options.pseudo_labels is not None:
        file = options.pseudo_labels
        report = SourceReport(f"{place.label} pseudo-labels", str(file), str(file))
        pseudo = read_pseudo_labels(file, place, report, held_out)
        if report.num_rows:
            reports.append(report)
            rows += [(report, "train", clip) for clip in _judge_train(pseudo, place.name, report, held_out, options)]
    rows.sort(key=lambda row: row[2].utterance.encode())
    _write(rows, place, writers, options)
    return reports


def _judge_train(
    clips: list[Clip], language: str, report: SourceReport, held_out: HeldOut, options: CorpusOptions
) -> list[Clip]:
    """Leave out training clips for their texts; note sentences that are in dev or test."""
    kept = []
    dropped = report.splits["train"].dropped
    for clip in clips:
        split = held_out.sentences.get(sentence_key(clip.sentence))
        if split is not None:
            report.overlap.add(f"train sentences are in {split} too", f"{clip.utterance}: {clip.sentence}")
            if options.drop_overlap:
                dropped.add(f"sentence is in {split} too", f"{clip.utterance}: {clip.sentence}")
                continue
        reason = REMOVED if says_remove(clip) else ""
        reason = reason or options.text.judge_characters(language, clip.sentence, clip.translation)
        if reason:
            dropped.add(reason, f"{clip.utterance}: {clip.sentence!r}, {clip.translation!r}")
        else:
            kept.append(clip)
    return kept


def _note_removed(clips: list[Clip], split: str, report: SourceReport) -> None:
    """Count the translations of a set for testing that say REMOVE; they stay, as in published scores."""
    for clip in clips:
        if says_remove(clip):
            report.remarks.add(
                f"translations of {split} say REMOVE, and are kept", f"{clip.utterance}: {clip.sentence}"
            )


def _write(
    rows: list[tuple[SourceReport, str, Clip]],
    place: Language,
    writers: dict[str, DataDirWriter],
    options: CorpusOptions,
) -> None:
    """Measure the clips and write those that are good; a damaged one is counted and named."""
    speakers: dict[tuple[str, str], set[str]] = {}
    durations = read_durations([clip.audio for _, _, clip in rows], options.num_threads)
    for (report, split, clip), duration in zip(rows, durations, strict=True):
        split_report = report.splits[split]
        if isinstance(duration, str):
            split_report.dropped.add(UNREADABLE_CLIP, duration)
            continue
        reason = _judge_duration(clip, duration, options) if split == "train" else ""
        if reason:
            split_report.dropped.add(reason, f"{clip.audio}: {duration:.3f} s, {clip.sentence!r}")
            continue
        values = (clip.audio, clip.translation, clip.sentence, clip.speaker, place.name, f"{duration:.3f}")
        writers[split].add(clip.utterance, (*values, place.target) if options.targets else values)
        speakers.setdefault((report.name, split), set()).add(clip.speaker)
        split_report.kept += 1
        split_report.hours += duration / 3600
        split_report.speakers = len(speakers[report.name, split])


def _judge_duration(clip: Clip, duration: float, options: CorpusOptions) -> str:
    if duration < options.min_duration:
        return f"shorter than {options.min_duration:g} s"
    if duration > options.max_duration:
        return f"longer than {options.max_duration:g} s"
    return options.text.judge_ratio(clip.sentence, clip.translation, duration)


def check_single_set(options: CorpusOptions, output_dir: Path) -> None:
    """Refuse a single set with what is only for training, or where it would replace the report of a corpus.

    Raises:
        ValueError: One of the two.
    """
    if not options.all_as:
        return
    if options.english != "none" or options.pseudo_labels is not None:
        raise InputError(f"--all_as {options.all_as} is for testing; --english and --pseudo_labels are for training")
    if options.all_as in SPLITS or "/" in options.all_as:
        raise InputError(f"--all_as {options.all_as!r}: expected a name that is not one of {', '.join(SPLITS)}")
    if (output_dir / "train").exists():
        raise InputError(f"--all_as {options.all_as}: {output_dir} has the sets of a corpus; give another --datadir")


BAD_REASONS = (NO_CLIP, UNREADABLE_CLIP)


def check_belonging(place: Language, english: str, max_missing_share: float, max_bad_share: float) -> None:
    """Refuse another release than CoVoST 2's table needs, or a folder that lacks its clips, before clips are read.

    Args:
        place: The language.
        english: The table of English transcripts.
        max_missing_share: Rows of CoVoST 2 that validated.tsv may lack.
        max_bad_share: Clips that may be absent; one always may.

    Raises:
        ValueError: Too many rows have no counterpart, or too many clips no file.
    """
    if place.table is None:
        if not (place.folder / f"{english}.tsv").is_file():
            table = place.folder / f"{english}.tsv"
            raise InputError(f"{table}: no such table; the other one is --english validated")
        return
    translated = {clip_name(path) for _, (path,) in read_tsv(place.table, ("path",), [], escaped=True)}
    table = place.folder / "validated.tsv"
    validated = {clip_name(path) for _, (path,) in read_tsv(table, ("path",), [], escaped=True)}
    missing = len(translated - validated)
    if missing > max_missing_share * len(translated):
        raise InputError(
            f"{place.name}: {missing:,} of {len(translated):,} clips of {place.table} are not in {place.folder}/"
            f"validated.tsv, at most {max_missing_share:.0%} may (--max_missing_share): another release or "
            "language; CoVoST 2 was made from cv-corpus-4-2019-12-10"
        )
    wanted = translated & validated
    absent = sorted(wanted - list_clips(place.folder / "clips").keys())
    if len(absent) > max(1, max_bad_share * len(wanted)):
        instead = f"; or remove the folder, and {place.archive} is unpacked instead" if place.archive else ""
        raise InputError(
            f"{place.name}: {len(absent):,} of {len(wanted):,} clips that validated.tsv lists are not in "
            f"{place.folder}/clips (first {absent[0]}), at most {max_bad_share:.0%} may (--max_bad_share): "
            f"half unpacked? Unpack the archive again{instead}"
        )


def check_bad_share(report: SourceReport, place: Language, max_bad_share: float) -> None:
    """Refuse a corpus of which too much is damaged.

    Raises:
        ValueError: More clips than allowed are absent or unreadable.
    """
    drops = [split.dropped for split in report.splits.values()]
    examples = [text for drop in drops for reason in BAD_REASONS for text in drop.examples.get(reason, [])]
    bad = sum(drop.counts.get(reason, 0) for drop in drops for reason in BAD_REASONS)
    total = bad + sum(split.kept for split in report.splits.values())
    if bad > max(1, max_bad_share * total):
        raise InputError(
            f"{report.name}: {bad:,} of {total:,} clips are absent or damaged, at most {max_bad_share:.0%} may "
            f"(--max_bad_share); get them again below {place.folder}, or raise the share:{first_ten(examples)}"
        )
