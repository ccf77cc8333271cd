"""Unpack only what is wanted of a corpus's archives (.tar.gz); a stopped run resumes.

archive -> members wanted -> folder, marked when whole
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from speechllama.faults import InputError
from speechllama.files import read_json, write_json, writing
from speechllama.progress import progress

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
MARKER = ".unpacked.json"  # written last: a folder without it is half unpacked
BLOCK_BYTES = 1 << 20


def archive_stem(path: Path) -> str:
    """Name an archive without its suffix."""
    for suffix in ARCHIVE_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def peek_archive(path: Path) -> PurePosixPath:
    """Give the path of an archive's first file, which tells what it is an archive of.

    Raises:
        ValueError: It is no such archive, holds no file, or is cut off before the first one.
    """
    with _reading(path) as (tar, _):
        for member in tar:
            if member.isfile():
                return PurePosixPath(member.name)
    raise InputError(f"{path}: holds no file; expected the archive of a corpus")


def unpack(archive: Path, folder: Path, choose: Callable[[str], str | None], purpose: str) -> None:
    """Write the chosen members into a folder; what is there already is kept, so a stopped run resumes.

    Each file appears under its name when it is whole, and the folder's marker last. No member can leave the folder.

    Args:
        archive: The .tar.gz.
        folder: Where the files go.
        choose: Maps a member's name to its path below the folder, or to None if it is not wanted.
        purpose: What `choose` selects, in a few words or a digest; with another one the folder is filled up.

    Raises:
        ValueError: The archive is truncated or damaged; what was unpacked is kept.
        OSError: The disk is full.
    """
    state = {"archive": archive.name, "bytes": archive.stat().st_size, "purpose": purpose}
    marker = folder / MARKER
    if marker.is_file() and read_json(marker) == state:
        return
    marker.unlink(missing_ok=True)
    logging.info("unpacking %s into %s", archive, folder)
    folder.mkdir(parents=True, exist_ok=True)
    num_files = 0
    with _reading(archive) as (tar, stream):
        for member in progress(tar, None, f"members of {archive.name}"):
            relative = choose(member.name) if member.isfile() else None
            if relative is None:
                continue
            num_files += 1
            target = folder / relative
            if not (target.is_file() and target.stat().st_size == member.size):
                source = tar.extractfile(member)
                assert source is not None  # it is a file
                _write(source, target)
            tar.members.clear()  # type: ignore[attr-defined]  # a million of them would stay in memory
        while stream.read(BLOCK_BYTES):  # after the last member: only now is the checksum known to be right
            pass
    write_json(marker, state)
    logging.info("%s: %s files", folder, f"{num_files:,}")


def unpack_single(archive: Path, name: str, target: Path) -> None:
    """Write the one member of this name to a file, atomically.

    Raises:
        ValueError: The archive is truncated or damaged, or has no such member.
    """
    found = False
    partial = target.with_name(f"{target.name}.unpacking")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _reading(archive) as (tar, stream):
            for member in tar:
                if member.isfile() and PurePosixPath(member.name).name == name:
                    source = tar.extractfile(member)
                    assert source is not None
                    _write(source, partial)
                    found = True
            while stream.read(BLOCK_BYTES):
                pass
        if not found:
            raise InputError(f"{archive}: holds no {name}; expected the archive of that table")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def open_single(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """Read the one member of this name without unpacking it.

    Raises:
        ValueError: The archive is truncated or damaged, or has no such member.
    """
    with _reading(archive) as (tar, _):
        for member in tar:
            if member.isfile() and PurePosixPath(member.name).name == name:
                source = tar.extractfile(member)
                assert source is not None  # it is a file
                yield source
                return
    raise InputError(f"{archive}: holds no {name}; expected the archive of that table")


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with writing(target), temporary.open("wb") as written:
            shutil.copyfileobj(source, written, BLOCK_BYTES)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[tarfile.TarFile, gzip.GzipFile]]:
    """Open an archive as a stream and put every way of being broken into one message.

    gzip reads below tarfile: tarfile by itself takes an archive cut between two members for a whole one.
    """
    try:
        with gzip.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            yield tar, stream
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: truncated or damaged ({error}; {path.stat().st_size:,} bytes); what was unpacked of it is kept. "
            "Compare its size with the source's, get it again, and start the same command again"
        ) from error


def check_space(archive: Path, folder: Path, needed_bytes: float) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        ValueError: The disk of the folder, which is made if absent, has less room than that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise InputError(
            f"{archive}: unpacking needs about {needed_bytes / 1e9:.1f} GB below {folder}, {free / 1e9:.1f} GB are "
            "free; make room, or name another place with --downloads"
        )
