"""Corpora of Lhotse's cuts (extra `lhotse`), read only: manifests or shar -> Utterance, one for each supervision.

    cuts_train.jsonl.gz, or train/cuts.000000.jsonl.gz with train/recording.000000.tar -> Utterance ...

Segments of recordings are not cut, and audio in memory (shar) becomes files as it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.corpora.formats.extracted import extract, folder_of, place_of
from speechllama.corpora.formats.options import LhotseOptions
from speechllama.corpora.formats.prepare import Row, prepare_form
from speechllama.corpora.formats.rows import Speech, find_missing, to_utterance
from speechllama.corpora.own import Unusable
from speechllama.faults import InputError, MissingFileError

MANIFESTS = ("{}", "{}.jsonl.gz", "{}.jsonl", "cuts_{}.jsonl.gz", "cuts_{}.jsonl", "{}_cuts.jsonl.gz", "{}_cuts.jsonl")
SHAR = "cuts.*.jsonl*"
HARMLESS = "Resample"  # stage features brings everything to 16 kHz
BAD_CUT = "cut that is no part of one recording as it is"


def prepare(options: LhotseOptions) -> None:
    """Write the data directories."""
    prepare_form(options, read_split)


def find_files(options: LhotseOptions, split: str) -> list[Path]:
    """Find the manifest of a split, or the files of its shar.

    Raises:
        ValueError: The package lhotse is missing.
        FileNotFoundError: There is no manifest.
    """
    if importlib.util.find_spec("lhotse") is None:
        raise InputError(
            f"{options.corpus}: reading Lhotse's cuts needs the package lhotse: pip install -e '.[lhotse]'"
        )
    folder = Path(options.corpus)
    for name in MANIFESTS:
        if (folder / name.format(split)).is_file():
            return [folder / name.format(split)]
    if any((folder / split).glob(SHAR)):
        return sorted(path for path in (folder / split).iterdir() if path.is_file())
    fitting = sorted(folder.glob(f"*_cuts_{split}.jsonl*"))  # librispeech_cuts_dev-clean.jsonl.gz
    if len(fitting) == 1:
        return fitting
    names = ", ".join(name.format(split) for name in MANIFESTS[1:4])
    raise MissingFileError(
        f"{folder}: no cuts of {split}; expected {names} or {split}/{SHAR} (shar); --train, --dev and --test name the "
        "splits"
    )


def read_split(options: LhotseOptions, split: str) -> Iterator[Row]:
    """Give an utterance for each supervision of each cut; a cut without any is an utterance without texts.

    Raises:
        FileNotFoundError: There is no manifest.
        ValueError: The package is missing, the manifest cannot be read, or no supervision has a column.
    """
    first, *_ = find_files(options, split)
    where = str(first if first.parent.name != split else first.parent)
    manifest = _Manifest(options, folder_of(options, split), where)
    for number, cut in enumerate(_load(options, first, where), 1):
        yield from manifest.read(cut, number)
    if manifest.fields:
        find_missing(options, {}, sorted(manifest.fields), where)


def _load(options: LhotseOptions, first: Path, where: str) -> Iterator[Any]:
    """Give the cuts of a manifest or a shar.

    Raises:
        ValueError: It cannot be read.
    """
    from lhotse import CutSet

    try:
        if first.match(SHAR):
            yield from CutSet.from_shar(in_dir=str(first.parent))
        else:
            yield from CutSet.from_file(first)
    except (ValueError, KeyError, TypeError, AssertionError, OSError) as error:
        raise InputError(f"{where}: lhotse cannot read it: {type(error).__name__}: {error}") from error


@dataclass
class _Manifest:
    """Reads the cuts of a manifest.

    Attributes:
        options: Of stage data.
        folder: Where recordings in memory are written.
        where: The manifest.
        fields: Those that its supervisions have.
        num_utterances: How many have been read.
    """

    options: LhotseOptions
    folder: Path
    where: str
    fields: set[str] = field(default_factory=set)
    num_utterances: int = 0

    def read(self, cut: Any, number: int) -> Iterator[Row]:
        """Make the utterances of a cut, and a file of its recording if that is in memory."""
        where, languages = f"{self.where}:{number}", self.options.languages
        fault = _find_fault(cut)
        if fault:
            yield Unusable(BAD_CUT, f"{where}: {cut.id}: {fault}", languages[0] if len(languages) == 1 else "unknown")
            return
        place = str(self._find_recording(cut.recording.sources[0], number))
        for supervision in cut.supervisions or [None]:
            row, start, end = _fields(cut, supervision), cut.start, cut.end
            if supervision is not None:  # its times count from the cut's beginning, and may reach beyond it
                self.fields.update(row)
                start, end = max(start, cut.start + supervision.start), min(end, cut.start + supervision.end)
            self.num_utterances += 1
            yield to_utterance(row, Speech(place, self.num_utterances, start, end), self.options, where)

    def _find_recording(self, source: Any, number: int) -> Path:
        """Give the path of a recording, which counts from where Lhotse was called, or from the manifest's folder."""
        if source.type == "memory":
            place = place_of(self.folder, number, "")
            extract(source.source, place)
            return place
        return Path(source.source) if Path(source.source).is_file() else Path(self.options.corpus, source.source)


def _find_fault(cut: Any) -> str:
    """Say why a cut is no part of one recording that we could read ourselves; "" if it is."""
    recording = getattr(cut, "recording", None)
    if recording is None:
        return f"{type(cut).__name__} without a recording of its own (mixed, padded, or features only)"
    sources = [source.type for source in recording.sources]
    if sources not in (["file"], ["memory"]):
        return (
            f"audio of {', '.join(sources) or 'no source'}; expected one file: save the audio with Lhotse (save_audios)"
        )
    channels = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    if {*recording.channel_ids} - {*channels}:
        return (
            f"channel {cut.channel} of {len(recording.channel_ids)}; expected all, or a file of this one (save_audios)"
        )
    changes = [_name_of(change) for change in recording.transforms or []]
    changes = [name for name in changes if name != HARMLESS]
    return f"its audio is changed when it is read ({', '.join(changes)}); take the cuts before that" if changes else ""


def _name_of(change: Any) -> str:
    """Name a transform of a recording; a manifest has it as a mapping."""
    return str(change.get("name")) if isinstance(change, Mapping) else type(change).__name__


def _fields(cut: Any, supervision: Any) -> dict[str, Any]:
    """Give the named values of a supervision: its own fields, and custom ones of the cut and of itself."""
    fields = {**(cut.custom or {}), "id": cut.id}
    if supervision is not None:
        names = ("id", "text", "language", "speaker", "gender")
        fields |= {**{name: getattr(supervision, name) for name in names}, **(supervision.custom or {})}
    return fields
