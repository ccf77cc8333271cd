"""Tab-separated tables: file -> one {column: value} a row, literally: no quoting, no NaN, no types.

Default CSV quoting fuses all rows between two stray quotes into one; reading by splitting at tabs cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllama.faults import InputError, MissingFileError


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


def read_tsv(path: str | Path, columns: Sequence[str], faults: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read the named columns, row by row.

    Args:
        path: The file, UTF-8 with or without byte-order mark; its first line names the columns.
        columns: The columns wanted; others may be there too, in any order.
        faults: Gets a "file:line: ..." for each row left out: wrong number of fields, or not UTF-8.

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
            try:
                fields = raw.decode("utf-8").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                faults.append(f"{path}:{number}: not UTF-8 ({error.reason}): {raw[:60]!r}")
                continue
            if len(fields) != len(header):
                faults.append(f"{path}:{number}: {len(fields)} fields, expected {len(header)}: {raw[:60]!r}")
                continue
            yield number, tuple(fields[place] for place in places)
