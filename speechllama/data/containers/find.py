"""Which reader a file needs: a path -> its parts for libsndfile, or none if FFmpeg must read it."""

from __future__ import annotations

import functools
import mmap
import stat
from pathlib import Path

import soundfile

from speechllama.data.containers.ffmpeg import name_kind
from speechllama.data.containers.flac import MAGIC as FLAC
from speechllama.data.containers.flac import flac_parts
from speechllama.data.containers.mpeg import mpeg_parts, read_header
from speechllama.data.containers.ogg import MAGIC as OGG
from speechllama.data.containers.ogg import is_for_libsndfile, ogg_parts
from speechllama.data.containers.parts import Part, check_plain, skip_id3
from speechllama.data.containers.riff import is_riff, riff_parts
from speechllama.faults import InputError, MissingFileError

HEAD_BYTES = 512
MOST_IN_MEMORY = 1 << 26  # bytes of an mp3; four at a time are read twice as fast there
LEAST_REMEMBERED = 1 << 20  # bytes of a file from which segments are cut
SHOWN_BYTES = 40
NOT_RECOGNISED = (1, 7)  # what libsndfile says of files of other kinds; 7 is "does not exist", which is not so
TEXT_CONTROLS = b"\t\n\r\f"
BINARY_TEXT = (b"NIST_1A",)  # audio whose header is text


def find_parts(path: Path) -> list[Part]:
    """Find the parts of a recording's file; of a large one they are remembered as long as it does not change.

    Returns:
        Its parts; none if libsndfile does not read it, but FFmpeg may.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, a directory, text, truncated or damaged.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise MissingFileError(f"{path}: no such recording ({error.strerror})") from error
    if not stat.S_ISREG(state.st_mode):
        kind = "a directory" if stat.S_ISDIR(state.st_mode) else "no file"
        raise InputError(f"{path}: {kind}, expected an audio file")
    if state.st_size == 0:
        raise InputError(f"{path}: the recording is empty (0 bytes)")
    find = _find if state.st_size < LEAST_REMEMBERED else _find_once
    return find(path, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))


def _find(path: Path, state: tuple[int, int, int, int]) -> list[Part]:
    size = state[1]
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = skip_id3(data, 0)
        head = data[start : start + HEAD_BYTES]
        if is_riff(data):
            return riff_parts(path, data)
        if head[:4] == FLAC:
            return flac_parts(path, data, start)
        if head[:4] == OGG:
            return _read_by_libsndfile(path, ogg_parts(path, data, start), head)
        if read_header(head) is not None:
            return mpeg_parts(path, data if size > MOST_IN_MEMORY else data[:])
        if name_kind(head):
            return []
        if start and start < size:  # a tag, and then what mp3 decoders skip too
            return mpeg_parts(path, data)
        _refuse_text(path, data[:HEAD_BYTES])
        return _try(path, data)


_find_once = functools.lru_cache(maxsize=64)(_find)


def _read_by_libsndfile(path: Path, parts: list[Part], head: bytes) -> list[Part]:
    """Give the parts of an Ogg file, none if FFmpeg must read it, which reads the first of a chain only."""
    if is_for_libsndfile(head):
        return parts
    if len(parts) > 1:
        raise InputError(
            f"{path}: {len(parts)} recordings in one Ogg file, neither Opus nor Vorbis; write each to a file of its own"
        )
    return []


def _try(path: Path, data: mmap.mmap) -> list[Part]:
    """Ask libsndfile what it is."""
    try:
        found = soundfile.info(str(path)).format
    except soundfile.LibsndfileError as error:
        if error.code in NOT_RECOGNISED:
            return []
        raise InputError(f"{path}: cannot be read ({error.error_string.rstrip('.')}); truncated or damaged") from error
    if found == "MP3":  # with other bytes before its first frame
        return mpeg_parts(path, data)
    check_plain(path, data)
    return [Part(0, len(data))]


def _refuse_text(path: Path, head: bytes) -> None:
    """Refuse a text with the name of a recording: a page of a server that says it has none, a table.

    Raises:
        ValueError: It is a text.
    """
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a letter that is cut at the end is none
            return
        text = head[: error.start].decode("utf-8")
    if head.startswith(BINARY_TEXT) or any(ord(letter) < 32 and ord(letter) not in TEXT_CONTROLS for letter in text):
        return
    shown = " ".join(text.split())[:SHOWN_BYTES]
    raise InputError(f"{path}: no audio, but text that begins with {shown!r}; get the recording again")
