"""Tables and whole-or-nothing files."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.files import atomic_write, read_json, read_table, write_json, write_table


def test_a_table_comes_back_sorted_by_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "text", {"b": "two", "B": "capital", "ä": "last", "a": ""})
    # LC_ALL=C: capitals first, non-ASCII last.
    assert list(read_table(tmp_path / "text").items()) == [
        ("B", "capital"),
        ("a", ""),
        ("b", "two"),
        ("ä", "last"),
    ]


def test_unicode_line_separators_do_not_end_a_line(tmp_path: Path) -> None:
    write_table(tmp_path / "text", {"a": "one\u2028two\x85three"})
    assert read_table(tmp_path / "text") == {"a": "one\u2028two\x85three"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\na 2\n", r"text:2: the key 'a' comes a second time"),
        (b"a 1\n b\n", r"text:2: the line starts with a space"),
        (b"a 1\nb \xff\n", r"text:2: not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "text")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="wav.scp: no such table"):
        read_table(tmp_path / "wav.scp")


@pytest.mark.parametrize("table", [{"a b": "1"}, {"": "1"}, {"a": "one\ntwo"}])
def test_what_is_no_line_cannot_be_written(tmp_path: Path, table: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot write key"):
        write_table(tmp_path / "text", table)
    assert not list(tmp_path.iterdir())


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_table(tmp_path / "text", {"a": "old"})
    with pytest.raises(RuntimeError, match="killed"), atomic_write(tmp_path / "text") as stream:
        stream.write("half")
        raise RuntimeError("killed")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    assert read_table(tmp_path / "text") == {"a": "old"}


def test_json_keeps_its_characters(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"ß": [1, "é"]})
    assert "ß" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"ß": [1, "é"]}


@pytest.mark.parametrize(("content", "message"), [("{", "x.json:1: not JSON"), ("[1]", "expected a JSON object")])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "x.json")
