"""Tables read literally: a missing column is named, a bad row costs only itself."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from speechllama.data.tsv import BadRow, escape, read_tsv, split_row


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("path\tsplit\na\ttrain\n")
    with pytest.raises(ValueError, match="x.tsv:1: no column translation; found path, split"):
        list(read_tsv(tmp_path / "x.tsv", ("path", "translation"), []))


def test_bytes_that_are_no_utf8_cost_one_row(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"\xef\xbb\xbfa\tb\r\n1\t\xff\r\n3\t4\r\n\r\n")
    faults: list[BadRow] = []
    assert list(read_tsv(tmp_path / "x.tsv", ("b", "a"), faults)) == [(3, ("4", "3"))]
    assert len(faults) == 1 and "x.tsv:2: not UTF-8" in str(faults[0])


@pytest.mark.parametrize("line", [r"a\tb", "a\\\tb\tc", r"\"x\"	\\	y", "a\t\\\\\t", "plain\ttext"])
def test_an_escaped_row_is_read_as_pandas_reads_it(line: str) -> None:
    fields = split_row(line, escaped=True)
    header = "\t".join(f"c{number}" for number in range(len(fields)))
    options = {"sep": "\t", "escapechar": "\\", "quoting": csv.QUOTE_NONE, "na_filter": False}  # CoVoST 2's script
    table = pytest.importorskip("pandas").read_csv(io.StringIO(f"{header}\n{line}\n"), dtype=str, **options)
    assert table.iloc[0].tolist() == fields


def test_what_is_escaped_comes_back() -> None:
    for text in ("C:\\x", "\\", 'a "quote"', "plain"):
        assert split_row(f"{escape(text)}\tx\n", escaped=True) == [text, "x"]
