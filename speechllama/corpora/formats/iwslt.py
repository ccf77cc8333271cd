"""Corpora in the form of MuST-C and of IWSLT's tracks: a list of segments, and a line of each text for each segment.

tst-COMMON/txt/tst-COMMON.{yaml,en,de}, tst-COMMON/wav/*.wav -> Utterance ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllama.corpora.formats.options import NONE, IwsltOptions
from speechllama.corpora.formats.prepare import Row, prepare_form
from speechllama.corpora.formats.segment_lists import read_lines, read_segments
from speechllama.corpora.own import TRAINED_ON, Unusable, Utterance
from speechllama.data.clips import clip_name, list_clips
from speechllama.faults import InputError, MissingFileError

LISTS = ("{split}.yaml", "{split}.yml", "segments", "stamped.tsv", "{split}.tsv", "{split}.lst")
BAD_ENTRY = "segment that is none"


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split in one language.

    Attributes:
        language: Code of the source language.
        segments: The list.
        transcripts: Their lines; None where there are none.
        translations: Theirs.
        folders: Where recordings are looked for.
    """

    language: str
    segments: Path
    transcripts: Path | None
    translations: Path | None
    folders: tuple[Path, ...]

    @property
    def tables(self) -> list[Path]:
        """The list and the texts."""
        return [path for path in (self.segments, self.transcripts, self.translations) if path]


def prepare(options: IwsltOptions) -> None:
    """Write the data directories."""
    prepare_form(options, read_split)


def read_split(options: IwsltOptions, split: str) -> Iterator[Row]:
    """Give the utterances of a split, language by language.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The list is damaged, or has another number of segments than a text has lines.
    """
    for files in find_split(options, split):
        yield from _read(files, len(options.languages) > 1)


def find_files(options: IwsltOptions, split: str) -> list[Path]:
    """List the tables of a split; see `find_split`."""
    return [*dict.fromkeys(path for files in find_split(options, split) for path in files.tables)]


def count_rows(options: IwsltOptions, split: str) -> int:
    """Count the utterances of a split, about, before it is read: the lines of a text."""
    return sum(files.tables[-1].read_bytes().count(b"\n") for files in find_split(options, split))


def find_split(options: IwsltOptions, split: str) -> list[SplitFiles]:
    """Find the files of a split in each language.

    Raises:
        FileNotFoundError: There is no list, or a text that is needed is missing.
        ValueError: `--source_suffix` is given for several languages.
    """
    if options.source_suffix not in ("", NONE):
        options.only_language(f"--source_suffix {options.source_suffix} is of one of them")
    is_trained_on = split in [name for each in TRAINED_ON for name in options.sets[each]]
    return [_find_files(options, split, language, is_trained_on) for language in options.languages]


def _find_files(options: IwsltOptions, split: str, language: str, is_trained_on: bool) -> SplitFiles:
    """Find the list, the texts and the recordings of a split."""
    suffixes = {
        "source": options.source_suffix or language,
        "target": options.target_suffix or options.target_lang,
    }
    pairs = ((language, options.target_lang), (suffixes["source"], suffixes["target"]))
    names = [f"{left}{mark}{right}" for left, right in pairs for mark in "-_"]
    tried = _places(Path(options.corpus), split, names, len(options.languages) > 1)
    place = next((folders for folders in tried if _find_list(folders, split)), [])
    segments = _find_list(place, split)
    if segments is None:
        expected = ", ".join(name.format(split=split) for name in LISTS)
        looked = ", ".join(str(folder) for folders in tried for folder in folders if folder.is_dir()) or options.corpus
        raise MissingFileError(f"{split}: no list of segments; expected one of {expected} in {looked}")
    found = {}
    for text, suffix in suffixes.items():
        found[text] = None if suffix == NONE else _only(place, f"{split}.{suffix}", f"*.{suffix}")
        if found[text] is None and suffix != NONE and is_trained_on:
            raise _missing_text(place, f"{split}.{suffix}", text)
    transcripts, translations = found["source"], found["target"]
    if suffixes["source"] == NONE:  # CTC then learns translations: --ctc_target translation
        transcripts = translations
    if suffixes["target"] == NONE:  # recognition
        translations = transcripts
    folders = [folder / name for name in ("wav", "") for folder in (*reversed(place), place[1].parent)]
    return SplitFiles(language, segments, transcripts, translations, tuple(dict.fromkeys(folders)))


def _missing_text(place: Sequence[Path], name: str, text: str) -> MissingFileError:
    """Say which text is missing, and what is there instead."""
    there = sorted({path.name for folder in place if folder.is_dir() for path in folder.iterdir() if path.is_file()})
    return MissingFileError(
        f"{place[0]}: no {name}; found {', '.join(there[:10])}. Name the suffix with --{text}_suffix, or say "
        f"--{text}_suffix none if the corpus has no such texts"
    )


def _places(corpus: Path, split: str, pairs: Sequence[str], is_one_of_several: bool) -> list[list[Path]]:
    """List where a split may be: its own folders, and those of all splits, each with its texts' folder first."""
    own = [corpus / pair for pair in dict.fromkeys(pairs) if (corpus / pair).is_dir()]
    roots = own if own and is_one_of_several else [corpus, *own]
    roots = [place for root in roots for place in (root / "data", root)]
    return [[folder / "txt", folder] for root in roots for folder in (root / split, root)]


def _find_list(folders: Sequence[Path], split: str) -> Path | None:
    """Find the list of segments: by its name; in the split's own folder, also the only YAML."""
    is_own = any(folder.name == split for folder in folders)
    for name in LISTS:
        if not is_own and "{split}" not in name:
            continue  # a list of another split
        for folder in folders:
            if (folder / name.format(split=split)).is_file():
                return folder / name.format(split=split)
    return _only(folders, "", "*.yaml") if is_own else None


def _only(folders: Sequence[Path], name: str, pattern: str) -> Path | None:
    """Find a file by its name, or the only one that fits: test-2023/txt has test.eng; None if there is none."""
    named = [folder / name for folder in folders if name and (folder / name).is_file()]
    fitting = [path for folder in folders if folder.is_dir() for path in folder.glob(pattern) if path.is_file()]
    return named[0] if named else fitting[0] if len(fitting) == 1 else None


def _read(files: SplitFiles, is_one_of_several: bool) -> Iterator[Row]:
    """Join the segments and the lines of their texts."""
    segments = [*read_segments(files.segments)]
    transcripts = _read_texts(files.transcripts, files.segments, len(segments))
    translations = _read_texts(files.translations, files.segments, len(segments))
    places = _Places(files.folders)
    counts, seen = Counter(segment.name for segment in segments), Counter[str]()
    for segment, transcript, translation in zip(segments, transcripts, translations, strict=True):
        if segment.fault:
            yield Unusable(BAD_ENTRY, f"{segment.where}: {segment.fault}", files.language)
            continue
        seen[segment.name] += 1
        name = segment.name + (f"_{seen[segment.name]:05d}" if counts[segment.name] > 1 else "")
        yield Utterance(
            f"{files.language}_{name}" if is_one_of_several else name,
            segment.speaker or segment.name,
            places.find(segment.wav),
            files.language,
            transcript,
            translation,
            segment.start,
            segment.end,
            where=segment.where,
        )


def _read_texts(path: Path | None, segments: Path, expected: int) -> list[str]:
    """Read a line for each segment.

    Raises:
        ValueError: There are more or fewer.
    """
    if path is None:
        return [""] * expected
    lines = read_lines(path)
    while len(lines) > expected and not lines[-1].strip():
        lines.pop()
    if len(lines) != expected:
        raise InputError(
            f"{path}:{len(lines)}: is the last line, but {segments} has {expected:,} segments. Line n belongs to "
            "segment n, so get them again, or find the line that is missing or cut in two"
        )
    return lines


class _Places:
    """Finds recordings by the names that a list has, with or without suffix."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._found: dict[str, str] = {}
        self._clips: list[tuple[Path, dict[str, str]]] | None = None

    def find(self, name: str) -> str:
        """Give the path of a recording; where it is expected if it is not there."""
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def _look_up(self, name: str) -> str:
        for folder in self._folders:
            if (folder / name).is_file():
                return str(folder / name)
        if self._clips is None:
            self._clips = [(folder, list_clips(folder)) for folder in self._folders if folder.is_dir()]
        clip = clip_name(Path(name).name)  # a list may say wav where there is flac, or nothing
        for folder, clips in self._clips:
            if clip in clips:
                return str(folder / f"{clip}{clips[clip]}")
        return str(next((folder for folder in self._folders if folder.is_dir()), self._folders[0]) / name)
