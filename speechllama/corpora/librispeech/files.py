"""Find the parts of LibriSpeech, in folders, archives or at a URL: part -> <part>/<speaker>/<chapter>/."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechllama.data.archives import MARKER, check_space, peek_archive, unpack
from speechllama.data.download import fetch, is_url
from speechllama.faults import InputError, MissingFileError

TREE = "LibriSpeech"  # the folder in which every archive has its part


@dataclass(frozen=True)
class Place:
    """Where LibriSpeech is.

    Attributes:
        source: Folder with the parts, or with LibriSpeech/ or archives `<part>.tar.gz`; a part's own folder; or the URL
            of the folder with the archives.
        downloads: Where archives are unpacked and downloaded.
    """

    source: str
    downloads: Path

    def folder(self, part: str) -> Path | None:
        """Find a part's folder; None if there is none, or if it is not unpacked yet."""
        unpacked = self.unpacked(part)
        found = [unpacked] if (unpacked / MARKER).is_file() else []
        if not is_url(self.source):
            source = Path(self.source)
            found = [source / part, source / TREE / part, *([source] if source.name == part else []), *found]
        return next((path for path in found if path.is_dir()), None)

    def unpacked(self, part: str) -> Path:
        """Name the folder into which a part's archive is unpacked."""
        return self.downloads / "unpacked" / TREE / part

    def archive(self, part: str) -> Path:
        """Name a part's archive, whether it is there or not."""
        folder = self.downloads if is_url(self.source) else Path(self.source)
        return folder / f"{part}.tar.gz"

    def describe_missing(self, part: str) -> str:
        """Say where a part was looked for."""
        folders = [path for path in (Path(self.source), Path(self.source) / TREE) if path.is_dir()]
        there = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
        listed = ", ".join(sorted(there - {TREE})) or "none"
        return (
            f"part {part!r}: looked for {self.source}/[{TREE}/]{part} and {self.archive(part)}; parts there: {listed}; "
            "--librispeech names a folder or a URL, as https://www.openslr.org/resources/12 (31: mini-LibriSpeech), "
            '--data_options "--division NAME" other parts'
        )


def find_part(place: Place, part: str) -> Path:
    """Find a part's folder; download and unpack its archive first where that is needed. A stopped run resumes.

    Raises:
        FileNotFoundError: There is no such part.
        ValueError: The archive is damaged or holds something else, or the disk is too small.
    """
    folder = place.folder(part)
    if folder is not None:
        return folder
    archive = place.archive(part)
    if is_url(place.source):
        fetch(f"{place.source.rstrip('/')}/{archive.name}", archive, lambda path: check_archive(path, part))
    elif not archive.is_file():
        raise MissingFileError(place.describe_missing(part))
    check_archive(archive, part)
    folder = place.unpacked(part)
    check_space(archive, folder, bytes_to_unpack(archive, folder))
    prefix = f"{TREE}/{part}/"

    def choose(member: str) -> str | None:
        name = str(PurePosixPath(member))
        return name.removeprefix(prefix) if name.startswith(prefix) else None

    unpack(archive, folder, choose, part)
    logging.info("%s: part %s", folder, part)
    return folder


def check_archive(path: Path, part: str) -> None:
    """Refuse a file that is not the archive of a part: its README and lists come first, the part's files later.

    Raises:
        ValueError: It is no .tar.gz, or its files are not in LibriSpeech/.
    """
    first = peek_archive(path)
    if first.parts[0] != TREE:
        raise InputError(f"{path}: begins with {first}, expected {TREE}/...; it is not the archive of {part}")


def bytes_to_unpack(archive: Path, folder: Path) -> float:
    """Disk that an archive takes, of flac that hardly shrinks, without what is unpacked already."""
    there = sum(path.stat().st_size for path in folder.glob("*/*/*")) if folder.is_dir() else 0
    return max(0.0, archive.stat().st_size * 1.05 - there)
