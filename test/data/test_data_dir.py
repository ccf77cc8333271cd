"""Data directories: every fault found, what can be repaired is repaired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin import validate_data_dir as entry
from speechllama.data.data_dir import read_data_dir, write_data_dir
from speechllama.data.features import make_features
from speechllama.data.skipped import read_skipped
from speechllama.data.validation import fix_data_dir, validate_data_dir
from speechllama.files import read_table, write_table


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_data_directory_comes_back(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data = read_data_dir(make_data_dir())
    write_data_dir(data, tmp_path / "copy")
    assert read_data_dir(tmp_path / "copy").tables == data.tables
    assert read_table(tmp_path / "copy/spk2utt")["fr_1"] == "fr_1-clip01 fr_1-clip03 fr_1-clip05"
    assert validate_data_dir(tmp_path / "copy") == []


def test_a_subset_keeps_the_recordings_it_needs(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=3)
    clips = read_table(path / "wav.scp")
    (path / "wav.scp").write_text("".join(f"rec{key} {clip}\n" for key, clip in clips.items()))
    (path / "segments").write_text("".join(f"{key} rec{key} 0 0.2\n" for key in clips))
    subset = read_data_dir(path).subset(["fr_0-clip02"])
    assert list(subset.table("wav.scp")) == ["recfr_0-clip02"] and subset.utterances == ["fr_0-clip02"]


FAULTS: list[tuple[str, str, str, str]] = [
    # table, old, new, what the report says
    ("text", "Hello there.", "", "data/text:1: empty text: 'fr_0-clip00'"),
    ("text", "fr_0-clip02 Hello there.\n", "", "missing in text: 'fr_0-clip02' has no line"),
    ("text", "fr_0-clip02", "fr_0-clip00", "data/text:2: duplicate key: 'fr_0-clip00', first in line 1"),
    ("utt2lang", "fr_0-clip00 fr\n", "", "missing in utt2lang: 'fr_0-clip00'"),
    ("utt2dur", "0.500", "-1", "data/utt2dur:1: bad duration: 'fr_0-clip00' has '-1'"),
    ("utt2dur", "0.500", "nan", "bad duration: 'fr_0-clip00' has 'nan'"),
    ("wav.scp", "clip00.wav", "none.wav", "data/wav.scp:1: no recording: 'fr_0-clip00'"),
    (
        "utt2spk",
        "clip00 fr_0",
        "clip00 de_0",
        "data/utt2spk:1: speaker is no prefix: speaker 'de_0' of 'fr_0-clip00'",
    ),
    ("spk2utt", "fr_0-clip00 ", "", "data/spk2utt:1: spk2utt is not the inverse"),
    (
        "spk2utt",
        "fr_1 ",
        "fr_2 ",
        "spk2utt is not the inverse of utt2spk: speaker 'fr_1': found 0, expected 2",
    ),
    (
        "text",
        "fr_0-clip00 Hello there.\nfr_0-clip02",
        "fr_0-clip02 Hi.\nfr_0-clip00",
        "data/text:2: not sorted",
    ),
]


@pytest.mark.parametrize(("table", "old", "new", "message"), FAULTS)
def test_a_fault_is_named(make_data_dir: Callable[..., Path], table: str, old: str, new: str, message: str) -> None:
    path = make_data_dir(num=4)
    edit(path / table, old, new)
    assert any(message in str(fault) for fault in validate_data_dir(path)), list(map(str, validate_data_dir(path)))


def test_all_faults_are_found_at_once(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=4)
    for table, old, new, _ in (FAULTS[0], FAULTS[4], FAULTS[6]):
        edit(path / table, old, new)
    (path / "src_text").write_bytes((path / "src_text").read_bytes().replace("là".encode(), b"l\xe0", 1))
    (path / "utt2lang").unlink()
    kinds = {fault.kind for fault in validate_data_dir(path)}
    expected = {
        "empty text",
        "bad duration",
        "no recording",
        "not UTF-8",
        "missing in src_text",
        "missing file",
    }
    assert kinds == expected


@pytest.mark.parametrize("value", ["rec 0.5 0.2", "rec 0.1", "rec x 1", "other 0 1", "rec -1 1"])
def test_a_bad_segment_is_named(make_data_dir: Callable[..., Path], value: str) -> None:
    path = make_data_dir(num=1)
    clip = read_table(path / "wav.scp")["fr_0-clip00"]
    (path / "wav.scp").write_text(f"rec {clip}\n")
    (path / "segments").write_text(f"fr_0-clip00 {value}\n")
    assert [fault.kind for fault in validate_data_dir(path)] == ["bad segment"]


def test_fixing_drops_and_counts_what_is_unusable(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=6)
    edit(path / "text", "Hello there.", "")
    edit(path / "wav.scp", "fr_1-clip03.wav", "none.wav")
    edit(path / "utt2dur", "fr_1-clip05", "fr_1-clip01")
    (path / "spk2utt").unlink()
    lines = (path / "src_text").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "src_text").write_text("".join(reversed(lines)), encoding="utf-8")
    assert fix_data_dir(path).dropped == {
        "duplicate key": 1,
        "empty text": 1,
        "no recording": 1,
        "missing in utt2dur": 1,
    }
    assert validate_data_dir(path) == []
    assert read_data_dir(path).utterances == ["fr_0-clip02", "fr_0-clip04", "fr_1-clip01"]


def test_the_entry_point_returns_1_and_prints_the_faults(
    make_data_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_data_dir(num=4)
    assert entry.main(["--data_dir", str(path)]) == 0
    edit(path / "text", "Hello there.", "")
    assert entry.main(["--data_dir", str(path)]) == 1
    assert "1 faults; 1 empty text" in capsys.readouterr().err
    assert entry.main(["--data_dir", str(path), "--fix"]) == 0
    assert "dropped 1: empty text" in capsys.readouterr().err


def test_the_entry_point_checks_several_directories_and_names_each(
    make_data_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = make_data_dir("good", num=2), make_data_dir("bad", num=3)
    edit(bad / "text", "Hello there.", "")
    assert entry.main(["--data_dir", str(bad), str(good)]) == 1
    printed = capsys.readouterr().err
    assert f"{bad}: 1 faults" in printed and f"{good}: ok" in printed


def test_reading_refuses_tables_that_differ(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = make_data_dir(num=4)
    edit(path / "text", "fr_0-clip02 Hello there.\n", "")
    with pytest.raises(ValueError, match=f"{path}/text: lacks 'fr_0-clip02', which utt2spk has"):
        read_data_dir(path)
    edit(path / "utt2spk", "fr_1-clip03 fr_1\n", "")
    with pytest.raises(ValueError, match=f"{path}/utt2spk: lacks 'fr_1-clip03', which text has"):
        read_data_dir(path)
    (path / "utt2dur").unlink()
    with pytest.raises(FileNotFoundError, match="utt2dur missing; found src_text"):
        read_data_dir(path)
    with pytest.raises(FileNotFoundError, match="no such data directory"):
        read_data_dir(tmp_path / "none")


def test_values_that_are_no_numbers_are_named_with_their_table(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir()
    first, second = sorted(read_table(path / "utt2dur"))[:2]
    content = (path / "utt2dur").read_text().splitlines()
    content[:2] = [f"{first} nan", f"{second} 1e999"]
    (path / "utt2dur").write_text("\n".join(content) + "\n")
    with pytest.raises(ValueError, match=rf"utt2dur: 2 values are not seconds above 0:\s+{first}: 'nan'\s+{second}"):
        _ = read_data_dir(path).seconds


@pytest.mark.parametrize(
    ("segment", "shown"), [("gone 0 0.3", "gone 0 0.3"), ("one two", "one two"), ("fr_0-clip00 a b", "fr_0-clip00 a b")]
)
def test_a_segment_that_cannot_be_read_is_skipped_with_its_table(
    make_data_dir: Callable[..., Path], tmp_path: Path, segment: str, shown: str
) -> None:
    path = make_data_dir()
    segments = {utt: f"{utt} 0.0 0.3" for utt in read_table(path / "utt2dur")}
    segments["fr_0-clip00"] = segment
    write_table(path / "segments", segments)
    make_features(path, tmp_path / "dump", max_bad_share=1.0)
    skipped = read_skipped(tmp_path / "dump/skipped.1")
    assert list(skipped) == ["fr_0-clip00"]
    assert f"segments: fr_0-clip00 has '{shown}', expected 'recording start end'" in skipped["fr_0-clip00"].detail
