"""Check a data directory, every fault with file, line and value, and repair what can be repaired."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechllama.data.data_dir import (
    NAMED_TEXT,
    REQUIRED_TABLES,
    SOURCE_TABLES,
    TARGET_TABLE,
    DataDir,
    write_data_dir,
)
from speechllama.data.durations_check import Checks, check_audio, check_durations, read_lengths
from speechllama.data.scanned_table import (
    BAD_LINES,
    ODD_LINE,
    Fault,
    Repair,
    ScannedTable,
    scan_table,
    scan_tables,
)
from speechllama.text.clean import is_blank, is_composed
from speechllama.text.targets import TARGETS

TEXTS = ("text", "src_text")
BLANK_TABLES = ("prompt", "ctc_hyp")  # a value "" is meant there
TRAINED_ON = ("train", "dev")  # sets by name: they need texts; others can be decoded without references


@dataclass(frozen=True)
class Findings:
    """What a check of a data directory found: faults, and what a user should know that is none."""

    faults: list[Fault]
    notes: list[str]


@dataclass
class Repairs:
    """What a repair did: utterances or lines that were dropped, and faults that were repaired, by reason."""

    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)


def validate_data_dir(path: str | Path, checks: Checks | None = None) -> list[Fault]:
    """Find every fault of a data directory; see `examine`."""
    return examine(path, checks).faults


def examine(path: str | Path, checks: Checks | None = None) -> Findings:
    """Find every fault of a data directory.

    Args:
        path: The folder.
        checks: How it is checked.

    Returns:
        All faults, none if it is good, and notes.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    tables = scan_tables(Path(path))
    notes = [
        f"no references in {name}: the set can be decoded, and not scored by them"
        for name in TEXTS
        if name in tables and tables[name].values and _may_lack_texts(Path(path), tables[name])
    ]
    return Findings(_find_faults(Path(path), tables, checks or Checks()), notes)


def fix_data_dir(path: str | Path, checks: Checks | None = None) -> Repairs:
    """Sort, repair, drop what cannot be used, rebuild spk2utt; `validate_data_dir` then finds what is left.

    Args:
        path: The folder; its tables are written anew.
        checks: How it is checked.

    Returns:
        What was dropped and what was repaired.
    """
    path = Path(path)
    tables = scan_tables(path)
    faults = _find_faults(path, tables, replace(checks or Checks(), num_headers=0))
    dropped = Counter(fault.kind for fault in faults if fault.kind in BAD_LINES)
    repaired = Counter(fault.kind for fault in faults if fault.repair or fault.kind == ODD_LINE)
    bad: dict[str, str] = {}
    values = {name: dict(table.values) for name, table in tables.items()}
    for fault in faults:
        if fault.key is not None:
            bad.setdefault(fault.key, fault.kind)
        if fault.repair:
            values[fault.repair.table][fault.repair.utterance] = fault.repair.value
    dropped.update(bad.values())
    _add_blank_texts(path, values)
    data = DataDir(path, values)
    kept = [utterance for utterance in data.utterances if utterance not in bad]
    write_data_dir(data.subset(kept), path)
    return Repairs(dict(dropped), dict(repaired))


def _add_blank_texts(path: Path, tables: dict[str, dict[str, str]]) -> None:
    """Give a set that is only decoded the tables of texts that it lacks, without texts."""
    for name in TEXTS if path.name not in TRAINED_ON else ():
        tables.setdefault(name, dict.fromkeys(tables.get("utt2spk", ()), ""))


def _is_text(name: str) -> bool:
    return name in TEXTS or NAMED_TEXT.fullmatch(name) is not None


def _may_lack_texts(path: Path, table: ScannedTable) -> bool:
    """Whether a table of texts has none at all, and is of a set that may be without."""
    return path.resolve().name not in TRAINED_ON and all(map(is_blank, table.values.values()))


def _find_faults(path: Path, tables: Mapping[str, ScannedTable], checks: Checks) -> list[Fault]:
    required = dict.fromkeys((*REQUIRED_TABLES, *TEXTS))
    faults = []
    for name in required:
        if name not in tables:
            may_lack = name in TEXTS and path.resolve().name not in TRAINED_ON
            hint = "; a set without references has lines without a text, which --fix writes" if may_lack else ""
            faults.append(Fault("missing file", str(path / name), f"required{hint}"))
    if not any(name in tables for name in SOURCE_TABLES):
        faults.append(Fault("missing file", str(path), f"expected one of {', '.join(SOURCE_TABLES)}"))
    for table in tables.values():
        faults += table.faults
    faults += _check_keys(tables)
    for name, table in tables.items():
        faults += _check_values(name, table, _is_text(name) and _may_lack_texts(path, table))
    if "wav.scp" in tables:
        lengths = read_lengths(tables)
        faults += check_audio(tables, lengths, checks)
        faults += check_durations(tables, lengths, checks)
    if "utt2spk" in tables:
        faults += _check_speakers(path, tables["utt2spk"])
        if not tables["utt2spk"].values:
            faults.append(Fault("no utterance", str(path / "utt2spk"), "the table is empty"))
    return faults


def _check_keys(tables: Mapping[str, ScannedTable]) -> Iterator[Fault]:
    """Each utterance is in every table."""
    keyed = {name: table for name, table in tables.items() if name != "wav.scp" or "segments" not in tables}
    first = {utt: table for table in reversed(keyed.values()) for utt in table.values}
    for name, table in keyed.items():
        for utterance, there in first.items():
            if utterance not in table.values:
                found = f"{utterance!r} has no line in {table.path}"
                yield Fault(f"missing in {name}", there.where(utterance), found, utterance)


def _check_values(name: str, table: ScannedTable, may_be_blank: bool) -> Iterator[Fault]:
    is_text = _is_text(name)
    may_be_blank = may_be_blank or name in (*BLANK_TABLES, "wav.scp")
    for key, value in table.values.items():
        if not may_be_blank and (is_blank(value) if is_text else not value):
            found = f"{key!r} has only {value!r}" if value else f"{key!r} has none"
            yield Fault(f"empty {'text' if is_text else 'value'}", table.where(key), found, key)
        elif is_text and not is_composed(value):
            found = (
                f"{key!r} has accents apart from their letters (NFD), expected composed ones (NFC); --fix composes them"
            )
            composed = Repair(name, key, unicodedata.normalize("NFC", value))
            yield Fault("text not composed", table.where(key), found, repair=composed)
        elif name == "utt2dur" and not _is_positive(value):
            yield Fault("bad duration", table.where(key), f"{key!r} has {value!r}, expected seconds above 0", key)
        elif name == "utt2num_frames" and not (value.isascii() and value.isdigit() and int(value) > 0):
            found = f"{key!r} has {value!r}, expected a whole number above 0"
            yield Fault("bad number of frames", table.where(key), found, key)
        elif name == TARGET_TABLE and value not in TARGETS:
            found = f"{key!r} has {value!r}, expected one of {', '.join(TARGETS)} (speechllama/text/targets.py)"
            yield Fault("unknown target language", table.where(key), found)


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


def _is_positive(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False
