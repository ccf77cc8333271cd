"""Recordings that a corpus holds as bytes inside larger files: each becomes a file, as it is, without decoding."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from speechllama.corpora.formats.options import FormatOptions
from speechllama.data.clips import AUDIO_SUFFIXES
from speechllama.files import writing

FOLDER_SIZE = 10_000  # files of a folder


def folder_of(options: FormatOptions, split: str) -> Path:
    """Name the folder of a split's recordings, DOWNLOADS/extracted/...; another corpus has another one."""
    options_of_place = (options.corpus, getattr(options, "config_name", ""), getattr(options, "revision", ""))
    name = re.sub(r"[^\w.-]+", "_", options.corpus.rstrip("/").rpartition("/")[2])
    digest = hashlib.sha1("\n".join(options_of_place).encode()).hexdigest()[:8]
    return Path(options.downloads, "extracted", f"{name}_{digest}", re.sub(r"[^\w.-]+", "_", split)).absolute()


def place_of(folder: Path, number: int, name: str) -> Path:
    """Name the file of a recording.

    Args:
        folder: That of its split.
        number: Its row, from 1.
        name: What the corpus calls it; only its suffix counts, and what a file is decides when it is read.
    """
    suffix = os.path.splitext(name)[1].lower()
    kept = suffix if suffix in AUDIO_SUFFIXES else ""
    return folder / f"{number // FOLDER_SIZE:04d}" / f"{number:08d}{kept}"


def extract(content: bytes, path: Path) -> None:
    """Write a recording; one that is there with the same content stays, so that a second run writes nothing."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        with writing(path):
            temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
