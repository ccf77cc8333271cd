"""Tables and whole-or-nothing files."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from speechllama.files import atomic_write, read_json, read_table, write_json, write_table, writing


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "\xff"}', "record.json: not UTF-8"),
        (b"[" * 100_000, "record.json: not JSON"),
        (b'{"a": "\0"}', "record.json:1: not JSON"),
    ],
)
def test_a_damaged_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "record.json")


def test_a_byte_order_mark_in_json_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "record.json") == {"a": 1}


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), errno.ENOSPC),
        (
            RuntimeError("[enforce fail at inline_container.cc:747] . open file failed: Read-only file system"),
            errno.EROFS,
        ),
    ],
)
def test_a_file_that_cannot_be_written_is_named(error: Exception, number: int) -> None:
    with pytest.raises(OSError, match="exp/model.pth") as named, writing("exp/model.pth"):
        raise error
    assert named.value.errno == number and named.value.filename == "exp/model.pth"


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "a"), KeyError("a"), OSError("odd")])
def test_any_other_error_of_a_writer_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as same, writing("exp/model.pth"):
        raise error
    assert same.value is error
