"""Check a data directory, every fault with file, line and value, and repair what can be repaired."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from speechllama.data.data_dir import (
    NAMED_TEXT,
    REQUIRED_TABLES,
    SOURCE_TABLES,
    TARGET_TABLE,
    DataDir,
    find_tables,
    write_data_dir,
)
from speechllama.text.targets import TARGETS

BAD_LINES = ("not UTF-8", "no key", "duplicate key")
BLANK_TABLES = ("prompt", "ctc_hyp")  # a value "" is meant there


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: A few words, the same for all faults of the kind.
        where: File, and line where there is one.
        found: The value found and what was expected.
        key: The utterance to drop if the directory is to be repaired; None where dropping does not help.
    """

    kind: str
    where: str
    found: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.found}"


@dataclass(frozen=True)
class ScannedTable:
    """A table read without stopping at faults: values by key, and its faulty lines."""

    path: Path
    values: dict[str, str]
    faults: list[Fault]

    @cached_property
    def lines(self) -> dict[str, int]:
        """Line numbers by key, read when a fault first asks for one: a good table of a million needs none."""
        lines: dict[str, int] = {}
        with self.path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                lines.setdefault(raw.rstrip(b"\r\n").partition(b" ")[0].decode(errors="replace"), number)
        return lines

    def where(self, key: str) -> str:
        """Give file and line of a key."""
        return f"{self.path}:{self.lines[key]}"


def scan_table(path: Path, keys: dict[str, str] | None = None) -> ScannedTable:
    """Read a table line by line and collect faults of lines: encoding, key, repetition, order.

    Args:
        path: The table.
        keys: As in `read_table`.
    """
    scanned, keys = ScannedTable(path, {}, []), {} if keys is None else keys
    last, value = b"", ""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            where = f"{path}:{number}"
            try:
                key, _, found = raw.decode("utf-8").rstrip("\r\n").partition(" ")
            except UnicodeDecodeError as error:
                scanned.faults.append(Fault("not UTF-8", where, f"{raw[:60]!r} ({error.reason})"))
                continue
            if not key or "\t" in key:
                scanned.faults.append(Fault("no key", where, f"{raw[:60]!r}, expected 'key value'"))
            elif key in scanned.values:
                first = f"{key!r}, first in line {scanned.lines[key]}"
                scanned.faults.append(Fault("duplicate key", where, first))
            else:
                found = found.strip()
                value = value if value == found else found  # neighbours often have the same: speaker, language
                scanned.values[keys.setdefault(key, key)] = value
                if key.encode() < last:
                    order = f"{key!r} after {last.decode()!r} (LC_ALL=C order)"
                    scanned.faults.append(Fault("not sorted", where, order))
                last = key.encode()
    return scanned


def scan_tables(path: Path) -> dict[str, ScannedTable]:
    """Read all tables of a folder; what is the same in several is in memory once."""
    keys: dict[str, str] = {}
    return {name: scan_table(path / name, keys) for name in find_tables(path)}


def validate_data_dir(path: str | Path) -> list[Fault]:
    """Find every fault of a data directory.

    Args:
        path: The folder.

    Returns:
        All faults; an empty list means that it is good.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    return _find_faults(Path(path), scan_tables(Path(path)))


def fix_data_dir(path: str | Path) -> dict[str, int]:
    """Sort, drop what cannot be used, rebuild spk2utt; `validate_data_dir` then finds what is left.

    Args:
        path: The folder; its tables are written anew.

    Returns:
        Number of utterances or lines dropped, by reason.
    """
    path = Path(path)
    tables = scan_tables(path)
    faults = _find_faults(path, tables)
    dropped = Counter(fault.kind for fault in faults if fault.kind in BAD_LINES)
    bad: dict[str, str] = {}
    for fault in faults:
        if fault.key is not None:
            bad.setdefault(fault.key, fault.kind)
    dropped.update(bad.values())
    data = DataDir(path, {name: table.values for name, table in tables.items()})
    kept = [utterance for utterance in data.utterances if utterance not in bad]
    write_data_dir(data.subset(kept), path)
    return dict(dropped)


def _find_faults(path: Path, tables: dict[str, ScannedTable]) -> list[Fault]:
    missing = [name for name in REQUIRED_TABLES if name not in tables]
    faults = [Fault("missing file", str(path / name), "required") for name in missing]
    if not any(name in tables for name in SOURCE_TABLES):
        faults.append(Fault("missing file", str(path), f"expected one of {', '.join(SOURCE_TABLES)}"))
    for table in tables.values():
        faults += table.faults
    faults += _check_keys(tables)
    for name, table in tables.items():
        faults += _check_values(name, table)
    if "wav.scp" in tables:
        faults += _check_audio(tables["wav.scp"], tables.get("segments"))
    if "utt2spk" in tables:
        faults += _check_speakers(path, tables["utt2spk"])
        if not tables["utt2spk"].values:
            faults.append(Fault("no utterance", str(path / "utt2spk"), "the table is empty"))
    return faults


def _check_keys(tables: dict[str, ScannedTable]) -> Iterator[Fault]:
    """Each utterance is in every table."""
    keyed = {name: table for name, table in tables.items() if name != "wav.scp" or "segments" not in tables}
    first = {utt: table for table in reversed(keyed.values()) for utt in table.values}
    for name, table in keyed.items():
        for utterance, there in first.items():
            if utterance not in table.values:
                found = f"{utterance!r} has no line in {table.path}"
                yield Fault(f"missing in {name}", there.where(utterance), found, utterance)


def _check_values(name: str, table: ScannedTable) -> Iterator[Fault]:
    is_text = name in ("text", "src_text") or NAMED_TEXT.fullmatch(name)
    for key, value in table.values.items():
        if not value and name not in BLANK_TABLES and name != "wav.scp":
            yield Fault(f"empty {'text' if is_text else 'value'}", table.where(key), f"{key!r} has none", key)
        elif name == "utt2dur" and not _is_positive(value):
            yield Fault("bad duration", table.where(key), f"{key!r} has {value!r}, expected seconds above 0", key)
        elif name == "utt2num_frames" and not (value.isascii() and value.isdigit() and int(value) > 0):
            found = f"{key!r} has {value!r}, expected a whole number above 0"
            yield Fault("bad number of frames", table.where(key), found, key)
        elif name == TARGET_TABLE and value not in TARGETS:
            found = f"{key!r} has {value!r}, expected one of {', '.join(TARGETS)} (speechllama/text/targets.py)"
            yield Fault("unknown target language", table.where(key), found)


def _check_audio(wav_scp: ScannedTable, segments: ScannedTable | None) -> Iterator[Fault]:
    missing = {key for key, value in wav_scp.values.items() if not value or not Path(value).is_file()}
    for key in missing if segments is None else ():
        found = f"{key!r} has {wav_scp.values[key]!r}, no such file"
        yield Fault("no recording", wav_scp.where(key), found, key)
    for key, value in segments.values.items() if segments is not None else ():
        assert segments is not None
        fields = value.split()
        if len(fields) != 3 or not _is_positive(fields[2]) or not 0 <= _number(fields[1]) < float(fields[2]):
            expected = "expected 'recording start end' with 0 <= start < end"
            yield Fault("bad segment", segments.where(key), f"{key!r} has {value!r}, {expected}", key)
        elif fields[0] not in wav_scp.values:
            yield Fault("bad segment", segments.where(key), f"{key!r} names {fields[0]!r}, not in {wav_scp.path}", key)
        elif fields[0] in missing:
            found = f"{key!r} needs {wav_scp.values[fields[0]]!r}, no such file"
            yield Fault("no recording", wav_scp.where(fields[0]), found, key)


def _check_speakers(path: Path, utt2spk: ScannedTable) -> Iterator[Fault]:
    for utterance, speaker in utt2spk.values.items():
        if speaker and not utterance.startswith(speaker):
            found = f"speaker {speaker!r} of {utterance!r}; rename the utterance, sorting needs it"
            yield Fault("speaker is no prefix", utt2spk.where(utterance), found)
    if not (path / "spk2utt").is_file():
        yield Fault("missing file", str(path / "spk2utt"), "required; --fix makes it of utt2spk")
        return
    spk2utt = scan_table(path / "spk2utt")
    yield from spk2utt.faults
    expected: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk.values, key=str.encode):
        expected.setdefault(utt2spk.values[utterance], []).append(utterance)
    for speaker in sorted(expected.keys() | spk2utt.values.keys(), key=str.encode):
        listed = sorted(spk2utt.values.get(speaker, "").split(), key=str.encode)
        if listed != expected.get(speaker, []):
            where = spk2utt.where(speaker) if speaker in spk2utt.lines else str(spk2utt.path)
            wanted = expected.get(speaker, [])
            differing = sorted(set(listed) ^ set(wanted))
            told = f"speaker {speaker!r}: found {len(listed)}, expected {len(wanted)}, differing {differing[:3]}"
            yield Fault("spk2utt is not the inverse of utt2spk", where, told)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _is_positive(value: str) -> bool:
    return 0 < _number(value) < math.inf
