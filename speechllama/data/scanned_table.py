"""A table of a data directory read without stopping at faults: file -> values by key, and its faulty lines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from speechllama.data.data_dir import find_tables
from speechllama.files import split_line

BAD_LINES = ("not UTF-8", "no key", "duplicate key")  # which are left out
ODD_LINE = "odd line"  # repaired, and nothing is lost


class Repair(NamedTuple):
    """The value that a table should have for an utterance."""

    table: str
    utterance: str
    value: str


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: A few words, the same for all faults of the kind.
        where: File, and line where there is one.
        found: The value found and what was expected.
        key: The utterance to drop if the directory is to be repaired; None where dropping does not help.
        repair: The value that repairs it, and loses nothing.
    """

    kind: str
    where: str
    found: str
    key: str | None = None
    repair: Repair | None = None

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
                lines.setdefault(split_line(raw.decode(errors="replace"))[0], number)
        return lines

    def where(self, key: str) -> str:
        """Give file and line of a key."""
        return f"{self.path}:{self.lines[key]}"


def scan_table(path: Path, keys: dict[str, str] | None = None) -> ScannedTable:
    """Read a table line by line and collect faults of lines: encoding, form, repetition, order.

    Args:
        path: The table.
        keys: As in `read_table`.

    Returns:
        The table; of an odd line the key and the value that were meant.
    """
    scanned, keys = ScannedTable(path, {}, []), {} if keys is None else keys
    last, value = b"", ""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            where = f"{path}:{number}"
            try:
                key, found, odd = split_line(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                scanned.faults.append(Fault("not UTF-8", where, f"{raw[:60]!r} ({error.reason})"))
                continue
            if odd and key:
                expected = "expected 'key value' with one space between; --fix repairs it"
                scanned.faults.append(Fault(ODD_LINE, where, f"{raw.decode()[:60]!r} {odd}, {expected}"))
            if not key:
                scanned.faults.append(Fault("no key", where, f"{raw[:60]!r}, expected 'key value'"))
            elif key in scanned.values:
                first = f"{key!r}, first in line {scanned.lines[key]}"
                scanned.faults.append(Fault("duplicate key", where, first))
            else:
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
