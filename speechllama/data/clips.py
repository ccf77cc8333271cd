"""Common Voice's recordings: folder -> clips by name; files -> durations, read in parallel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechllama.data.audio import read_duration
from speechllama.progress import progress

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".opus", ".ogg", ".oga", ".m4a", ".mp4", ".aac", ".webm", ".wma")
BLOCK = 64  # clips a thread takes at once: a million single tasks would not fit into memory


def clip_name(path: str) -> str:
    """Name a clip without its suffix; older releases write none."""
    path = path.strip()
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in AUDIO_SUFFIXES else path


def list_clips(folder: Path) -> dict[str, str]:
    """List the suffixes of the recordings by clip: one look at the folder instead of one for each row."""
    clips: dict[str, str] = {}
    suffixes: dict[str, str] = {}  # few different strings, shared: a million names must fit into memory
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in AUDIO_SUFFIXES:
                clips[stem] = suffixes.setdefault(suffix, suffix)
    return clips


def read_durations(paths: Sequence[str], num_threads: int) -> Iterator[float | str]:
    """Measure recordings as `read_duration` does, in order and in parallel, with progress.

    Args:
        paths: The recordings.
        num_threads: How many are read at once.

    Yields:
        Seconds, or for a recording that cannot be read the reason.
    """

    def read_block(start: int) -> list[float | str]:
        return [_read(path) for path in paths[start : start + BLOCK]]

    with ThreadPoolExecutor(num_threads) as pool:
        blocks = pool.map(read_block, range(0, len(paths), BLOCK))
        yield from progress((duration for block in blocks for duration in block), len(paths), "clips")


def _read(path: str) -> float | str:
    try:
        return read_duration(path)
    except (ValueError, OSError) as error:
        return str(error)
