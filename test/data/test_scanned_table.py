"""Tables that another system wrote: every odd line is named, repaired, and nothing is lost."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin import validate_data_dir as entry
from speechllama.data.data_dir import read_data_dir
from speechllama.data.validation import fix_data_dir, validate_data_dir
from speechllama.files import read_table, split_line

ODD = {
    "\ufeffa Hello there.": "begins with a byte-order mark",
    "a\u3000Hello there.": "has U+3000 after its key",
    "a\u00a0Hello there.": "has U+00A0 after its key",
    "a\tHello there.": "has U+0009 after its key",
    " a Hello there.": "starts with a space",
    "\u3000a Hello there.": "starts with U+3000",
    "a\u200b Hello there.": "has the invisible U+200B in its key",
}


@pytest.mark.parametrize(("line", "odd"), ODD.items())
def test_a_line_of_another_form_has_the_key_and_the_text_that_were_meant(line: str, odd: str) -> None:
    assert split_line(line + "\r\n") == ("a", "Hello there.", odd)


@pytest.mark.parametrize(
    "line", ["a Hello\u3000there.", "ä Hello there.\u200b", "a", "a ", "\u0646\u0645\u200c\u06cc x"]
)
def test_an_ordinary_line_is_not_odd(line: str) -> None:
    assert split_line(line)[2] == ""


@pytest.mark.parametrize(("line", "odd"), ODD.items())
def test_an_odd_line_is_named_refused_by_readers_and_repaired_without_a_loss(
    make_data_dir: Callable[..., Path], line: str, odd: str
) -> None:
    path = make_data_dir(num=3)
    good = {name: (path / name).read_text(encoding="utf-8") for name in ("text", "utt2spk")}
    text = line.replace("a", "fr_0-clip00", 1) if not line.startswith("a") else "fr_0-clip00" + line[1:]
    (path / "text").write_text(good["text"].replace("fr_0-clip00 Hello there.", text), encoding="utf-8")
    (fault,) = validate_data_dir(path)
    assert str(fault).startswith(f"{path}/text:1: odd line: ") and odd in fault.found
    with pytest.raises(ValueError, match="text:1: the line .*validate_data_dir --fix"):
        read_data_dir(path)
    repairs = fix_data_dir(path)
    assert (repairs.dropped, repairs.repaired) == ({}, {"odd line": 1})
    assert {name: (path / name).read_text(encoding="utf-8") for name in good} == good
    assert validate_data_dir(path) == []


def test_a_byte_order_mark_in_every_table_costs_no_utterance(
    make_data_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_data_dir(num=3)
    tables = read_data_dir(path).tables
    for table in path.iterdir():
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert entry.main(["--data_dir", str(path)]) == 1
    assert "byte-order mark" in capsys.readouterr().err
    assert entry.main(["--data_dir", str(path), "--fix"]) == 0
    assert f"{path}: repaired 7: odd line" in capsys.readouterr().err
    assert read_data_dir(path).tables == tables


def test_text_that_cannot_be_seen_is_empty(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=3)
    text = (path / "text").read_text().replace("clip02 Hello there.", "clip02 \u200b\u200d\ufeff")
    (path / "text").write_text(text, encoding="utf-8")
    assert [(fault.kind, fault.key) for fault in validate_data_dir(path)] == [("empty text", "fr_0-clip02")]


def test_accents_apart_from_their_letters_are_named_and_composed(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=2)
    good = (path / "src_text").read_text(encoding="utf-8")
    (path / "src_text").write_text(unicodedata.normalize("NFD", good), encoding="utf-8")
    assert {fault.kind for fault in validate_data_dir(path)} == {"text not composed"}
    assert fix_data_dir(path).repaired == {"text not composed": 2}
    assert (path / "src_text").read_text(encoding="utf-8") == good


def test_a_set_may_have_no_references_at_all_unless_it_is_trained_on(
    make_data_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "test"):
        path = make_data_dir(name, num=2)
        for table in ("text", "src_text"):
            (path / table).write_text("".join(f"{key} \n" for key in read_table(path / table)))
        kinds = [fault.kind for fault in validate_data_dir(path)]
        assert kinds == (["empty text"] * 4 if name == "train" else [])
    assert entry.main(["--data_dir", str(path)]) == 0
    assert f"{path}: no references in text: the set can be decoded" in capsys.readouterr().err
    (path / "text").unlink()
    assert [fault.kind for fault in validate_data_dir(path)] == ["missing file"]
    assert fix_data_dir(path).dropped == {} and validate_data_dir(path) == []


def test_a_missing_transcript_table_is_named(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir("train", num=2)
    (path / "src_text").unlink()
    assert [str(fault) for fault in validate_data_dir(path)] == [f"{path}/src_text: missing file: required"]
