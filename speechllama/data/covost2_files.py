"""Where CoVoST 2 lies: language name -> Common Voice's folder, CoVoST 2's table, and the clips by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".opus", ".ogg")


@dataclass(frozen=True)
class Language:
    """Where a language's files are.

    Attributes:
        name: As in the name of CoVoST 2's table ("zh-CN").
        folder: Common Voice's folder, with validated.tsv and clips/.
        table: covost_v2.<name>_en.tsv.
    """

    name: str
    folder: Path
    table: Path


def find_language(common_voice: Path, covost2: Path, language: str) -> Language:
    """Find a language's files in both corpora.

    Args:
        common_voice: Common Voice's folder.
        covost2: CoVoST 2's folder.
        language: Its name in either; "zh", "zh-CN" and "zh_CN" are one.

    Raises:
        FileNotFoundError: One corpus lacks it.
        ValueError: Several releases of Common Voice, or several varieties of the language, are there.
    """
    folders = [
        path.parent for path in _glob(common_voice, ("*/validated.tsv", "cv-corpus-*/*/validated.tsv"))
    ]
    tables = _glob(covost2, ("covost_v2.*_en.tsv", "*/covost_v2.*_en.tsv"))
    named_tables = [(path.name.removeprefix("covost_v2.").removesuffix("_en.tsv"), path) for path in tables]
    folder = _choose(
        language, [(path.name, path) for path in folders], f"{common_voice}/[cv-corpus-*/]{{}}/validated.tsv"
    )
    table = _choose(language, named_tables, f"{covost2}/[{{}}/]covost_v2.{{}}_en.tsv")
    return Language(table.name.removeprefix("covost_v2.").removesuffix("_en.tsv"), folder, table)


def clip_name(path: str) -> str:
    """Name a clip without its suffix; older releases write none."""
    path = path.strip()
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in AUDIO_SUFFIXES else path


def list_clips(folder: Path) -> dict[str, Path]:
    """List the recordings by clip: one look at the folder instead of one for each row."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the clips beside validated.tsv")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(AUDIO_SUFFIXES))
    return {clip_name(name): folder / name for name in names}


def _glob(folder: Path, patterns: Iterable[str]) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; --common_voice and --covost2 name where the corpora are")
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _choose(language: str, candidates: Sequence[tuple[str, Path]], pattern: str) -> Path:
    """Take the candidate of that name, or else the only one of the same language in another variety."""
    wanted = language.replace("_", "-").lower()
    exact = [path for name, path in candidates if name.lower() == wanted]
    close = exact or [path for name, path in candidates if name.lower().split("-")[0] == wanted.split("-")[0]]
    if not close:
        there = ", ".join(sorted({name for name, _ in candidates})) or "none"
        looked = pattern.replace("{}", language)
        raise FileNotFoundError(f"language {language!r}: looked for {looked}; languages there: {there}")
    if len(close) > 1:
        places = ", ".join(str(path) for path in close)
        raise ValueError(
            f"language {language!r} is there {len(close)} times ({places}); give the folder of one"
        )
    return close[0]
