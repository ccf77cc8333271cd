"""Unpack only what is needed of Common Voice's archives, tables and clips.

archive, clips wanted -> <work_dir>/unpacked/<archive>/<language>/{validated.tsv, clips/}
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from speechllama.data.archives import MARKER, archive_stem, check_space, unpack
from speechllama.data.clips import clip_name
from speechllama.data.tsv import read_tsv
from speechllama.faults import InputError

RELEASE_TABLES = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv")
CLIP_BYTES = 50_000  # a clip of release 6.1 has 38 kB on average


def unpacked_folder(archive: Path, work_dir: Path, name: str) -> Path:
    """Where a language of an archive is unpacked."""
    return work_dir / "unpacked" / archive_stem(archive) / name


def unpack_english(archive: Path, folder: Path, english: str, more_clips: set[str]) -> None:
    """Unpack the tables and the clips that one of them lists; the tables come first, in a reading of their own.

    Args:
        archive: The archive.
        folder: From `unpacked_folder`.
        english: Name of that table, without its ending.
        more_clips: Clips that are wanted, too.

    Raises:
        ValueError: The archive has no such table, or the disk is too small.
    """
    table, wanted = folder / f"{english}.tsv", set[str]()
    if not table.is_file():
        unpack_recordings(archive, folder, wanted)
        (folder / MARKER).unlink()  # the clips are still to come
    if not table.is_file():
        raise InputError(f"{archive}: no such table: {english}.tsv; --english takes train or validated")
    while not wanted >= (listed := clips_of(table) | more_clips):  # again if the table came from another archive
        wanted = listed
        unpack_recordings(archive, folder, wanted)


def unpack_recordings(archive: Path, folder: Path, wanted: set[str]) -> None:
    """Unpack the tables and the wanted clips of one language.

    Args:
        archive: The archive.
        folder: From `unpacked_folder`.
        wanted: Names of clips, as `clip_name` gives them.

    Raises:
        ValueError: The archive is damaged, or the disk is too small.
    """

    def choose(member: str) -> str | None:
        path = PurePosixPath(member)
        if path.parent.name == "clips":
            return f"clips/{path.name}" if clip_name(path.name) in wanted else None
        return path.name if path.name in RELEASE_TABLES else None

    if not (folder / MARKER).is_file():
        check_space(archive, folder, bytes_to_unpack(archive, folder, len(wanted)))
    digest = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()
    unpack(archive, folder, choose, f"clips of {digest}")


def clips_of(table: Path) -> set[str]:
    """Names of the clips that a table lists."""
    return {clip_name(path) for _, (path,) in read_tsv(table, ("path",), [], escaped=True)}


def bytes_to_unpack(archive: Path, folder: Path, num_clips: int | None) -> float:
    """Disk that this many clips of an archive take (None: all of them), without what is unpacked already."""
    needed = archive.stat().st_size
    if num_clips is not None:
        needed = min(needed, CLIP_BYTES * num_clips)
    return max(0.0, needed - sum(path.stat().st_size for path in folder.glob("clips/*")))
