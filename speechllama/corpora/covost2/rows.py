"""Rows of every kind of corpus -> clips by split: CoVoST 2, English transcripts, pseudo-labels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.corpora.covost2.files import CLIP_COLUMNS, TABLE_COLUMNS, Language, corpus_name
from speechllama.data.clips import clip_name, list_clips
from speechllama.data.corpus_report import SourceReport
from speechllama.data.tsv import BadRow, read_header, read_tsv
from speechllama.faults import InputError
from speechllama.text.clean import normalise_text
from speechllama.text.filter import sentence_key

# CoVoST 2 marks sentences that were in CoVoST 1; its own script takes them as training data.
SPLIT_NAMES = {"train": "train", "train_covost": "train", "dev": "dev", "test": "test"}
HELD_OUT = ("dev", "test")
NO_CLIP = "no such clip"  # a reason for dropping
REMOVED = "translation says REMOVE"  # a reason for dropping: so CoVoST 2's translators marked what cannot be translated
REMOVE = re.compile(r"[\"']?REMOVE[\"']?[.!]?")
PSEUDO_COLUMNS = ("lang", "path", "sentence", "translation")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip with its texts; a million of them must fit into memory."""

    utterance: str
    speaker: str
    audio: str
    sentence: str
    translation: str


@dataclass
class HeldOut:
    """What other rows of a language must not repeat: the clips that have a split, the sentences of dev and test.

    Attributes:
        clips: Split by clip, whether the clip was kept or not.
        sentences: dev or test by `sentence_key`, of all their rows, kept or not.
    """

    clips: dict[str, str] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)

    def add_sentence(self, text: str, split: str) -> None:
        """Note a sentence of dev or test; test counts before dev."""
        key = sentence_key(text)
        self.sentences[key] = max(split, self.sentences.get(key, ""))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a corpus, before it is judged; `audio` is "" where there is no such file."""

    where: str
    name: str
    client: str
    audio: str
    sentence: str
    translation: str


def says_remove(clip: Clip) -> bool:
    """Whether a clip has no translation but the note that it should be removed."""
    return REMOVE.fullmatch(clip.translation) is not None


def read_covost2(place: Language, report: SourceReport, held_out: HeldOut) -> dict[str, list[Clip]]:
    """Join both tables of a language on the clip, in the order of Common Voice; both read as CoVoST 2's script does.

    Args:
        place: Where the files are.
        report: Gets what was dropped. Its splits are those of the corpus, or a single one that takes all rows.
        held_out: Gets the splits of the clips, and the sentences of dev and test.
    """
    translations = _read_translations(place, report, held_out.clips)
    audio = _Recordings(place)
    clips: dict[str, list[Clip]] = {split: [] for split in report.splits}
    table = place.folder / "validated.tsv"
    faults: list[BadRow] = []
    for number, (client, path, sentence) in read_tsv(table, CLIP_COLUMNS, faults, escaped=True):
        report.num_rows += 1
        name, where = clip_name(path), f"{table}:{number}"
        split = held_out.clips.get(name)
        if split is None:
            continue  # validated, but without a translation, as most of Common Voice
        translation = translations.pop(name, None)
        if translation is None:
            report.dropped.add("duplicate clip in validated.tsv", f"{where}: {path!r}")
            continue
        row = _Row(where, name, client, audio.find(name), normalise_text(sentence), translation)
        if split in HELD_OUT:
            held_out.add_sentence(row.sentence, split)
        _judge(row, place.label, split, clips[split], report)
    report.dropped.extend("bad row in validated.tsv", map(str, faults))
    for name in translations:
        report.splits[held_out.clips[name]].dropped.add("not in validated.tsv", f"{place.table}: {name}")
    return clips


def held_out_translations(place: Language) -> Iterator[tuple[str, str]]:
    """Give translation and split of each row of dev and test, which English speech should not repeat."""
    if place.table is not None:
        for _, (translation, split) in read_tsv(place.table, ("translation", "split"), [], escaped=True):
            if split.strip() in HELD_OUT:
                yield normalise_text(translation), split.strip()


def read_english(place: Language, table_name: str, report: SourceReport, held_out: HeldOut) -> list[Clip]:
    """Read English speech with its transcript as target, for training.

    Args:
        place: Where the files are.
        table_name: "train", Common Voice's own training set, or "validated", without the clips of its dev and test.
        report: Gets what was dropped.
        held_out: Gets the splits of the clips.
    """
    table = place.folder / f"{table_name}.tsv"
    elsewhere: dict[str, str] = {}
    for split in HELD_OUT:
        if (place.folder / f"{split}.tsv").is_file():
            rows = read_tsv(place.folder / f"{split}.tsv", ("path",), [])
            elsewhere.update((clip_name(path), split) for _, (path,) in rows)
    audio, clips, dropped = _Recordings(place), list[Clip](), report.splits["train"].dropped
    faults: list[BadRow] = []
    for number, (client, path, text) in read_tsv(table, CLIP_COLUMNS, faults):
        report.num_rows += 1
        report.splits["train"].rows += 1
        name, where, sentence = clip_name(path), f"{table}:{number}", normalise_text(text)
        if name in elsewhere:
            dropped.add(f"clip is in Common Voice's {elsewhere[name]} too", f"{where}: {path}")
        elif name in held_out.clips:
            dropped.add("duplicate clip", f"{where}: {path}")
        else:
            held_out.clips[name] = "train"
            row = _Row(where, name, client, audio.find(name), sentence, sentence)
            _judge(row, place.name, "train", clips, report)
    held_out.clips.update(elsewhere)
    report.dropped.extend(f"bad row in {table.name}", map(str, faults))
    return clips


def pseudo_label_clips(path: Path, language: str) -> set[str]:
    """Name the clips of a language in a table of pseudo-labels; those that are files of their own are among them."""
    rows = read_tsv(path, ("lang", "path"), [])
    return {clip_name(clip) for _, (name, clip) in rows if corpus_name(name.strip()) == language}


def read_pseudo_labels(path: Path, place: Language, report: SourceReport, held_out: HeldOut) -> list[Clip]:
    """Read one language of a table of transcripts with machine-translated targets, for training.

    Args:
        path: TSV with the columns lang, path, sentence, translation and, where speakers are known, client_id; `path` is
            a clip of Common Voice or any recording's path, relative to the table's folder.
        place: The language.
        report: Gets what was dropped.
        held_out: The clips that have a split already.
    """
    has_speakers = "client_id" in read_header(path)
    columns = (*PSEUDO_COLUMNS, "client_id") if has_speakers else PSEUDO_COLUMNS
    audio, clips, train = _Recordings(place), list[Clip](), report.splits["train"]
    seen: set[str] = set()
    faults: list[BadRow] = []
    for number, (language, file, sentence, translation, *client) in read_tsv(path, columns, faults):
        if corpus_name(language.strip()) != place.name:
            continue
        train.rows += 1
        where, name = f"{path}:{number}", clip_name(file)
        if name in held_out.clips or name in seen:
            split = held_out.clips.get(name)
            train.dropped.add(f"clip is in {split} too" if split else "duplicate clip", f"{where}: {file}")
            continue
        seen.add(name)
        recording = audio.find(name)
        if not recording:  # a file of its own; its name may come twice
            own = path.parent / file.strip()
            recording = str(own) if own.is_file() else ""
            name = re.sub(r"[^\w.-]", "_", own.stem) + "_" + hashlib.sha1(name.encode()).hexdigest()[:8]
        speaker = client[0] if has_speakers else name
        row = _Row(where, name, speaker, recording, normalise_text(sentence), normalise_text(translation))
        _judge(row, place.label, "train", clips, report)
    report.num_rows = train.rows
    report.dropped.extend(f"bad row in {path.name}", map(str, faults))
    return clips


def untrained_pseudo_labels(path: Path, languages: Collection[str]) -> SourceReport | None:
    """Report the rows of a table of pseudo-labels whose language is not trained, if there are any.

    Args:
        path: The table.
        languages: The languages that are trained, by CoVoST 2's names.

    Raises:
        ValueError: It has no row of a language that is trained.
    """
    report, num_rows = SourceReport("pseudo-labels", str(path), str(path)), 0
    train = report.splits["train"]
    for number, (name,) in read_tsv(path, ("lang",), []):
        num_rows += 1
        if corpus_name(name.strip()) not in languages:
            train.rows += 1
            train.dropped.add(f"language {name.strip()!r} is not trained", f"{path}:{number}")
    if train.rows == num_rows:
        found = train.dropped.counts or "no row at all"
        raise InputError(f"{path}: no row of a language that is trained ({', '.join(languages)}); found {found}")
    report.num_rows = train.rows
    return report if train.rows else None


class _Recordings:
    """The recordings of a language by clip."""

    def __init__(self, place: Language) -> None:
        self._folder = f"{place.folder}/clips"
        self._suffixes = list_clips(place.folder / "clips")

    def find(self, name: str) -> str:
        """Give a clip's file, "" where there is none."""
        suffix = self._suffixes.get(name)
        return "" if suffix is None else f"{self._folder}/{name}{suffix}"


def _judge(row: _Row, language: str, split: str, clips: list[Clip], report: SourceReport) -> None:
    """Add a row to the clips, or to what was dropped."""
    dropped = report.splits[split].dropped
    if not row.name or any(mark.isspace() or mark == "/" for mark in row.name):
        dropped.add("bad clip name", f"{row.where}: {row.name!r}")
    elif not row.audio:
        dropped.add(NO_CLIP, f"{row.where}: {row.name}")
    elif not row.sentence:
        dropped.add("empty sentence", f"{row.where}: {row.name}")
    elif not row.translation:
        dropped.add("empty translation", f"{row.where}: {row.name}")
    elif not row.client.strip():
        dropped.add("no speaker", f"{row.where}: {row.name}")
    else:
        speaker = f"{language}_{hashlib.sha1(row.client.strip().encode()).hexdigest()[:16]}"
        clips.append(Clip(f"{speaker}-{row.name}", speaker, row.audio, row.sentence, row.translation))


def _read_translations(place: Language, report: SourceReport, splits: dict[str, str]) -> dict[str, str]:
    """Read CoVoST 2's table; a clip that is in two splits stays in test before dev before train."""
    assert place.table is not None
    translations: dict[str, str] = {}
    faults: list[BadRow] = []
    names = SPLIT_NAMES
    if len(report.splits) == 1:
        names = dict.fromkeys(SPLIT_NAMES, next(iter(report.splits)))
    for number, (path, translation, name) in read_tsv(place.table, TABLE_COLUMNS, faults, escaped=True):
        clip, where, split = clip_name(path), f"{place.table}:{number}", names.get(name.strip())
        if split is None:
            report.dropped.add("unknown split", f"{where}: {name!r}, expected {', '.join(SPLIT_NAMES)}")
            continue
        report.splits[split].rows += 1
        earlier = splits.get(clip)
        if earlier == split:
            report.splits[split].dropped.add("duplicate clip", f"{where}: {path}")
            continue
        if earlier is not None:
            winner, loser = sorted((earlier, split), key=SPLITS.index, reverse=True)
            report.splits[loser].dropped.add(f"clip is in {winner} too", f"{where}: {path}")
            if winner == earlier:
                continue
        splits[clip], translations[clip] = split, normalise_text(translation)
    for row in faults:  # the split is the last column, so most of them count where they are missing
        known = names.get(row.fields[-1].strip()) if row.fields else None
        if known is not None:
            report.splits[known].rows += 1
        (report.splits[known].dropped if known else report.dropped).add("bad row in CoVoST 2's table", str(row))
    return translations
