"""What kind of file it is, by what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechllama.data.audio import read_audio, read_duration
from speechllama.data.containers.find import find_parts
from test.data.containers.makers import encode, make_tone, write

PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>\xc3\xbcber</body></html>\n"


@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.flac", "x.m4a"])
@pytest.mark.parametrize(
    ("content", "beginning"),
    [(PAGE, "<!DOCTYPE html> <html>"), (b"path\tsentence\n" * 100, "path sentence"), (b"{}", "{}"), ("ж" * 400, "ж")],
)
def test_text_with_the_name_of_a_recording_is_refused(
    tmp_path: Path, name: str, content: bytes | str, beginning: str
) -> None:
    path = write(tmp_path / name, content.encode() if isinstance(content, str) else content)
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=f"{name}: no audio, but text that begins with '{beginning}"):
            read(path)


@pytest.mark.parametrize("content", [b"\xff", b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3", b"\0" * 5000])
def test_beginnings_of_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "x.mp3", content)
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match="x.mp3: "):
            read(path)


def test_directories_and_pipes_are_no_recordings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match="a directory, expected an audio file"):
            read(tmp_path)
        with pytest.raises(ValueError, match="pipe.wav: no file, expected an audio file"):
            read(tmp_path / "pipe.wav")
        with pytest.raises(FileNotFoundError, match="x.wav: no such recording"):
            read(tmp_path / "x.wav")
        with pytest.raises(FileNotFoundError, match=r"b.wav: no such recording \(Not a directory"):
            read(write(tmp_path / "a.wav", b"RIFF") / "b.wav")


def test_a_large_file_is_looked_at_once_as_long_as_it_does_not_change(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", encode(make_tone(40.0)))
    assert find_parts(path) is find_parts(path)
    assert read_duration(path) == 40.0
    write(path, encode(make_tone(50.0)))
    assert read_duration(path) == 50.0


@pytest.mark.parametrize("kind", ["AIFF", "AU", "W64", "CAF", "NIST", "VOC"])
def test_what_else_libsndfile_knows_is_read_and_not_if_truncated(tmp_path: Path, kind: str) -> None:
    data = encode(make_tone(1.0), format=kind)
    path = write(tmp_path / f"x.{kind}", data)
    assert read_duration(path) == 1.0 and len(read_audio(path)) == 16000
    if kind != "VOC":
        write(path, data[: len(data) // 2])
        for read in (read_audio, read_duration):
            with pytest.raises(ValueError, match=f"x.{kind}: .*truncated"):
                read(path)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "W64"])
def test_other_formats_from_a_pipe_are_read_to_the_end(tmp_path: Path, kind: str) -> None:
    data = encode(make_tone(1.0), format=kind)
    sizes = {"AIFF": (4, b"\0" * 4), "AU": (8, b"\xff" * 4), "W64": (16, b"\xff" * 8)}
    at, size = sizes[kind]
    path = write(tmp_path / "x", data[:at] + size + data[at + len(size) :])
    assert read_duration(path) == 1.0 and len(read_audio(path)) == 16000
