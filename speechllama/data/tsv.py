"""Tab-separated tables: file -> one {column: value} a row, literally: no quoting, no NaN, no types.

Default CSV quoting fuses all rows between two stray quotes into one; reading by splitting at tabs cannot. Some tables
have a backslash before a quote, a tab or a backslash of the text itself: those are read `escaped`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllama.faults import InputError, MissingFileError


@dataclass(frozen=True)
class BadRow:
    """A row that was left out.

    Attributes:
        where: File and line.
        reason: What is wrong with it.
        fields: Its fields, as far as they can be told.
    """

    where: str
    reason: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def escape(text: str) -> str:
    """Write a text as a field of an escaped table."""
    return text.replace("\\", "\\\\")


def split_row(line: str, escaped: bool) -> list[str]:
    """Split a row at its tabs; of an escaped one, a backslash stands before a character of the text itself."""
    line = line.rstrip("\r\n")
    if not escaped or "\\" not in line:
        return line.split("\t")
    fields = [""]
    marks = iter(line)
    for mark in marks:
        if mark == "\t":
            fields.append("")
        else:
            fields[-1] += next(marks, mark) if mark == "\\" else mark
    return fields


def read_header(path: str | Path) -> list[str]:
    """Read the names of the columns.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table")
    with path.open("rb") as stream:
        return stream.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")


def read_tsv(
    path: str | Path, columns: Sequence[str], faults: list[BadRow], escaped: bool = False
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read the named columns, row by row.

    Args:
        path: The file, UTF-8 with or without byte-order mark; its first line names the columns.
        columns: The columns wanted; others may be there too, in any order.
        faults: Gets each row left out: wrong number of fields, or not UTF-8.
        escaped: See `split_row`.

    Yields:
        Line number, and the values of `columns`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing.
    """
    path = Path(path)
    header = read_header(path)
    with path.open("rb") as stream:
        stream.readline()
        missing = [column for column in columns if column not in header]
        if missing:
            raise InputError(f"{path}:1: no column {', '.join(missing)}; found {', '.join(header)}")
        places = [header.index(column) for column in columns]
        for number, raw in enumerate(stream, 2):  # of a binary file: only "\n" ends a line
            if not raw.strip():
                continue
            where = f"{path}:{number}"
            try:
                fields = split_row(raw.decode("utf-8"), escaped)
            except UnicodeDecodeError as error:
                fields = split_row(raw.decode("utf-8", "replace"), escaped)
                faults.append(BadRow(where, f"not UTF-8 ({error.reason}): {raw[:60]!r}", tuple(fields)))
                continue
            if len(fields) != len(header):
                reason = f"{len(fields)} fields, expected {len(header)}: {raw[:60]!r}"
                faults.append(BadRow(where, reason, tuple(fields)))
                continue
            yield number, tuple(fields[place] for place in places)
