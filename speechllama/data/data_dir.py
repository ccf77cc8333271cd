"""Kaldi data directory: a folder of "key value" tables <-> DataDir, one record that knows all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from speechllama.faults import InputError, MissingFileError, first_ten
from speechllama.files import read_table, write_table
from speechllama.text.tasks import TABLES, TASKS

# Tables by what they are about. spk2utt is not listed: it follows from utt2spk and is written with it.
TARGET_TABLE = "utt2target"  # language of each translation, where it is not the same for all
COPIED_TABLES = ("text", "src_text", "utt2spk", "utt2lang", TARGET_TABLE, "utt2dur", "prompt")  # from stage to stage
AUDIO_TABLES = ("wav.scp", "segments")
MATRIX_TABLES = ("feats.scp", "compressed.scp", "utt2num_frames", "ctc_hyp")
REQUIRED_TABLES = ("text", "utt2spk", "utt2lang", "utt2dur")
SOURCE_TABLES = ("wav.scp", "feats.scp", "compressed.scp")  # at least one of them holds the speech
NAMED_TEXT = re.compile(r"text\.[A-Za-z][A-Za-z0-9-]*")  # text.fr: a transcript by language

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class DataDir:
    """The tables of one data directory.

    Attributes:
        path: The folder.
        tables: Values by utterance (in wav.scp by recording where there are segments), by name of the table.
    """

    path: Path
    tables: Mapping[str, dict[str, str]]

    def table(self, name: str) -> dict[str, str]:
        """Give one table, empty where the directory lacks it."""
        return self.tables.get(name, {})

    @property
    def utterances(self) -> list[str]:
        """All utterances, sorted by bytes."""
        return sorted(self.table("utt2spk"), key=str.encode)

    @property
    def spk2utt(self) -> dict[str, str]:
        """The utterances of each speaker, separated by spaces."""
        return invert(self.table("utt2spk"))

    @property
    def num_frames(self) -> dict[str, int]:
        """Frames of each utterance, as utt2num_frames says.

        Raises:
            ValueError: Values are no whole numbers above 0.
        """
        return self._numbers("utt2num_frames", int, "a whole number above 0")

    @property
    def seconds(self) -> dict[str, float]:
        """Duration of each utterance, as utt2dur says.

        Raises:
            ValueError: Values are no numbers above 0.
        """
        return self._numbers("utt2dur", float, "seconds above 0")

    def _numbers(self, name: str, kind: Callable[[str], Number], expected: str) -> dict[str, Number]:
        """Read the values of a table as numbers."""
        numbers: dict[str, Number] = {}
        faults = []
        for utterance, value in self.table(name).items():
            try:
                numbers[utterance] = kind(value)
            except ValueError:
                faults.append(f"{utterance}: {value!r}")
                continue
            if not 0 < numbers[utterance] < math.inf:
                faults.append(f"{utterance}: {value!r}")
        if faults:
            raise InputError(f"{self.path / name}: {len(faults):,} values are not {expected}:{first_ten(faults)}")
        return numbers

    def subset(self, utterances: Collection[str]) -> DataDir:
        """Keep these utterances, and the recordings that they need."""
        kept = set(utterances)
        segments = {utt: value for utt, value in self.table("segments").items() if utt in kept}
        recordings = {value.split()[0] for value in segments.values()} if "segments" in self.tables else kept
        tables = {}
        for name, table in self.tables.items():
            keys = recordings if name == "wav.scp" else kept
            tables[name] = {key: value for key, value in table.items() if key in keys}
        return DataDir(self.path, tables)


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Make spk2utt of utt2spk."""
    spk2utt: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk, key=str.encode):
        spk2utt.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in spk2utt.items()}


def lacks_transcripts(path: str | Path) -> bool:
    """Whether the transcripts of a data directory are its translations, as where a corpus has none."""
    transcripts, translations = (Path(path) / TABLES[kind] for kind in ("transcript", "translation"))
    if not (transcripts.is_file() and translations.is_file()):
        return False
    found = read_table(transcripts)
    return found == read_table(translations) and any(found.values())


def is_copied(name: str) -> bool:
    """Say whether a table is copied from one stage's directory to the next."""
    is_known = name in COPIED_TABLES or NAMED_TEXT.fullmatch(name) is not None
    return is_known or any(task.is_label and task.reference == name for task in TASKS.values())


def find_tables(path: str | Path) -> list[str]:
    """Name the tables that a folder holds, sorted; other files there are ignored.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise MissingFileError(f"{path}: no such data directory; run the stage that writes it")
    names = sorted(file.name for file in path.iterdir() if file.is_file())
    return [name for name in names if is_copied(name) or name in AUDIO_TABLES or name in MATRIX_TABLES]


def read_data_dir(path: str | Path) -> DataDir:
    """Read a data directory.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: The folder or a required table is missing.
        ValueError: A table cannot be read, or its utterances are not those of utt2spk.
    """
    path = Path(path)
    names = find_tables(path)
    missing = [name for name in REQUIRED_TABLES if name not in names]
    if missing:
        raise MissingFileError(f"{path}: {', '.join(missing)} missing; found {', '.join(names) or 'none'}")
    keys: dict[str, str] = {}
    data = DataDir(path, {name: read_table(path / name, keys) for name in names})
    faults = []
    for name, table in data.tables.items():
        if name == "wav.scp" and "segments" in names:
            continue
        for utt in sorted(table.keys() ^ data.table("utt2spk").keys()):
            lacking, other = ("utt2spk", name) if utt in table else (name, "utt2spk")
            faults.append(f"{path / lacking}: lacks {utt!r}, which {other} has")
    if faults:
        raise InputError(f"{path}: {len(faults):,} faults; repair with validate_data_dir --fix:{first_ten(faults)}")
    return data


def write_data_dir(data: DataDir, path: str | Path) -> None:
    """Write all tables and spk2utt, sorted as LC_ALL=C sort does.

    Args:
        data: The tables.
        path: The folder, made if absent; tables there that `data` lacks are removed, other files stay.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    for name in find_tables(path):
        if name not in data.tables:
            (path / name).unlink()
    for name, table in data.tables.items():
        write_table(path / name, table)
    write_table(path / "spk2utt", data.spk2utt)
