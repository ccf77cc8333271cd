"""Tables read literally: a missing column is named, a bad row costs only itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.data.tsv import read_tsv


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("path\tsplit\na\ttrain\n")
    with pytest.raises(ValueError, match="x.tsv:1: no column translation; found path, split"):
        list(read_tsv(tmp_path / "x.tsv", ("path", "translation"), []))


def test_bytes_that_are_no_utf8_cost_one_row(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"\xef\xbb\xbfa\tb\r\n1\t\xff\r\n3\t4\r\n\r\n")
    faults: list[str] = []
    assert list(read_tsv(tmp_path / "x.tsv", ("b", "a"), faults)) == [(3, ("4", "3"))]
    assert len(faults) == 1 and "x.tsv:2: not UTF-8" in faults[0]
