"""A data directory written line by line is the one that is written at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.data.data_dir import DataDir, write_data_dir
from speechllama.data.data_dir_writer import DataDirWriter

NAMES = ("text", "utt2spk", "utt2lang", "utt2dur")
ROWS = {
    "fr_1-a": ("Yes.", "fr_1", "fr", "1.0"),
    "fr_1-b": ("No.", "fr_1", "fr", "1.5"),
    "fr_2-a": ("", "fr_2", "fr", "2.0"),
    "é_1-a": ("Ah.", "é_1", "é", "2.0"),
}


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_files_are_the_same(tmp_path: Path) -> None:
    tables = {name: {utt: row[column] for utt, row in ROWS.items()} for column, name in enumerate(NAMES)}
    write_data_dir(DataDir(tmp_path / "once", tables), tmp_path / "once")
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines/src_text").write_text("of an earlier run\n")
    with DataDirWriter(tmp_path / "lines", NAMES) as writer:
        for utterance, row in ROWS.items():
            writer.add(utterance, row)
    assert contents(tmp_path / "lines") == contents(tmp_path / "once")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("old 1\n")
    with pytest.raises(ValueError, match="'fr_1-a' comes after 'fr_1-b'"), DataDirWriter(tmp_path, NAMES) as writer:
        writer.add("fr_1-b", ROWS["fr_1-b"])
        writer.add("fr_1-a", ROWS["fr_1-a"])
    assert contents(tmp_path) == {"text": b"old 1\n"}
    with pytest.raises(ValueError, match="cannot write 'a b'"), DataDirWriter(tmp_path, NAMES) as writer:
        writer.add("a b", ROWS["fr_1-a"])
