"""Where CoVoST 2 lies: trees, archives or a URL -> a folder of Common Voice and a table for each language."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechllama.data.archive import ARCHIVE_SUFFIXES, MARKER, archive_stem, peek_archive, unpack, unpack_single
from speechllama.data.clips import clip_name
from speechllama.data.download import fetch, is_url
from speechllama.data.faults import raise_all
from speechllama.data.tsv import read_header, read_tsv

ENGLISH = "en"
TABLE_COLUMNS = ("path", "translation", "split")
CLIP_COLUMNS = ("client_id", "path", "sentence")
# CoVoST 2's X->En languages by the names of its tables.
LANGUAGES = "ar ca cy de es et fa fr id it ja lv mn nl pt ru sl sv-SE ta tr zh-CN".split()
RELEASE_TABLES = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv")
CLIP_BYTES = 50_000  # a clip of release 6.1 has 38 kB on average


@dataclass(frozen=True)
class Sources:
    """Where the corpora are.

    Attributes:
        common_voice: Folder with <lang>/validated.tsv, cv-corpus-*/<lang>/validated.tsv or archives (.tar.gz).
        covost2: Folder with covost_v2.<lang>_en.tsv or .tsv.tar.gz, also in <lang>/; or the URL below which they are.
        work_dir: Where archives are unpacked and tables downloaded.
    """

    common_voice: Path
    covost2: str
    work_dir: Path


@dataclass(frozen=True)
class Language:
    """Where a language's files are.

    Attributes:
        name: As in the name of CoVoST 2's table ("zh-CN").
        folder: Common Voice's folder, with validated.tsv and clips/.
        table: covost_v2.<name>_en.tsv; None for English, whose transcripts are its targets.
        archive: The archive that the folder was unpacked from, or that lies beside it.
    """

    name: str
    folder: Path
    table: Path | None
    archive: Path | None = None


def corpus_name(language: str) -> str:
    """Give CoVoST 2's name of a language: "zh", "zh_cn" and "zh-CN" are one, and so are "sv" and "sv-SE"."""
    wanted = language.replace("_", "-").lower()
    for name in LANGUAGES:
        if wanted in (name.lower(), name.lower().split("-")[0]):
            return name
    return wanted


def find_languages(
    sources: Sources,
    languages: Sequence[str],
    more_clips: Callable[[str], set[str]] = lambda name: set(),
    english: str = "validated",
) -> list[Language]:
    """Find every language's files, unpack and download what is needed, and check all headers.

    Args:
        sources: Where to look.
        languages: Names in either corpus; "en" for English with its own transcripts.
        more_clips: Clips of a language that are wanted beside CoVoST 2's.
        english: The table of English transcripts whose clips are wanted.

    Returns:
        The languages, sorted, each once.

    Raises:
        ValueError: Something is missing, ambiguous or damaged; the message lists all of it.
    """
    names = sorted({corpus_name(language) for language in languages}, key=lambda name: f"{name}_".encode())
    faults: list[str] = []
    tables: dict[str, Path] = {}
    for name in names:
        if name != ENGLISH:
            with collecting(faults):
                tables[name] = _find_table(sources, name)
                _check_columns(tables[name], TABLE_COLUMNS)
    places: dict[str, tuple[Path | None, Path | None]] = {}  # all before any archive is unpacked, which takes long
    for name in names:
        with collecting(faults):
            places[name] = _find_recordings(sources, name)
    raise_all(faults, "corpus")
    found = []
    for name in names:
        folder, archive = places[name]
        table = tables.get(name)
        with collecting(faults):
            if folder is None:
                assert archive is not None  # one of both was found
                if table is None:
                    folder = _unpack_english(archive, sources.work_dir, english, more_clips(name))
                else:
                    folder = _unpack_recordings(archive, sources.work_dir, name, _clips_of(table) | more_clips(name))
            _check_columns(folder / "validated.tsv", CLIP_COLUMNS)
            if not (folder / "clips").is_dir():
                raise FileNotFoundError(f"{folder / 'clips'}: no such folder; expected the clips beside validated.tsv")
            found.append(Language(name, folder, table, archive))
    raise_all(faults, "corpus")
    return found


def look_up_languages(sources: Sources, languages: Sequence[str], faults: list[str]) -> list[Path]:
    """Look for every language's files without unpacking or downloading any, before a run.

    Args:
        sources: Where to look.
        languages: As for `find_languages`.
        faults: What is missing or ambiguous joins them.

    Returns:
        The tables that can be read already.
    """
    tables = []
    for name in sorted({corpus_name(language) for language in languages}):
        if name != ENGLISH:
            with collecting(faults):
                tables.append(_locate_table(sources, name)[1])
        with collecting(faults):
            _find_recordings(sources, name)
    return [table for table in tables if table.is_file()]


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Put a failure on a list and go on; what is wrong with the machine, such as a full disk, still stops."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        faults.append(str(error))


def _find_table(sources: Sources, name: str) -> Path:
    """Find CoVoST 2's table; download or unpack it first where that is needed."""
    place, table = _locate_table(sources, name)
    if place is None:
        if not table.is_file():
            _download_table(sources.covost2.rstrip("/"), table)
    elif place != table and (not table.is_file() or table.stat().st_mtime < place.stat().st_mtime):
        unpack_single(place, table.name, table)
    return table


def _locate_table(sources: Sources, name: str) -> tuple[Path | None, Path]:
    """Where CoVoST 2's table comes from (None: the URL) and where it can be read, once it is unpacked or downloaded."""
    file_name, local = f"covost_v2.{name}_en.tsv", sources.work_dir / "covost2"
    if is_url(sources.covost2):
        return None, local / hashlib.sha1(sources.covost2.encode()).hexdigest()[:8] / file_name
    folder = Path(sources.covost2)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; --covost2 names a folder or a URL of CoVoST 2's tables")
    places = [place / f"{file_name}{suffix}" for suffix in ("", ".tar.gz") for place in (folder, folder / name)]
    for place in places:
        if place.is_file() and place.suffix == ".tsv":
            return place, place
        if place.is_file():
            return place, local / hashlib.sha1(str(place.resolve()).encode()).hexdigest()[:8] / file_name
    there = {path.name.removeprefix("covost_v2.").split("_en.tsv")[0] for path in folder.glob("**/covost_v2.*_en.tsv*")}
    looked = f"{folder}/[{name}/]{file_name}[.tar.gz]"
    raise FileNotFoundError(f"language {name!r}: looked for {looked}; languages there: {_listing(there)}")


def _download_table(base: str, target: Path) -> None:
    """Get a table as CoVoST 2 offers it (.tsv.tar.gz), or as plain .tsv."""
    archive = target.with_name(f"{target.name}.tar.gz")

    def check_archive(path: Path) -> None:
        unpack_single(path, target.name, target)
        _check_columns(target, TABLE_COLUMNS)

    try:
        fetch(f"{base}/{archive.name}", archive, check_archive)
    except FileNotFoundError:
        fetch(f"{base}/{target.name}", target, lambda path: _check_columns(path, TABLE_COLUMNS))


def _find_recordings(sources: Sources, name: str) -> tuple[Path | None, Path | None]:
    """Find a language's unpacked folder, or else its archive; with a folder, also the archive beside it."""
    root = sources.common_voice
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; --common_voice names where Common Voice lies")
    tables = {table for pattern in ("*/validated.tsv", "cv-corpus-*/*/validated.tsv") for table in root.glob(pattern)}
    folders = {path.parent: corpus_name(path.parent.name) for path in sorted(tables)}
    archives = {path: _archive_language(path) for path in _list_archives(root)}
    own_folders = [path for path, language in folders.items() if language == name]
    own_archives = [path for path, language in archives.items() if language == name]
    if len(own_folders) > 1 or (not own_folders and len(own_archives) > 1):
        several = own_folders if own_folders else own_archives
        listed = ", ".join(map(str, several))
        raise ValueError(f"language {name!r} is there {len(several)} times ({listed}); give the folder of one release")
    if not own_folders and not own_archives:
        looked = f"{root}/[cv-corpus-*/]{name}/validated.tsv and an archive of it (.tar.gz)"
        there = {*folders.values(), *archives.values()} - {""}
        raise FileNotFoundError(f"language {name!r}: looked for {looked}; languages there: {_listing(there)}")
    return (own_folders[0] if own_folders else None), (own_archives[0] if own_archives else None)


def _list_archives(root: Path) -> list[Path]:
    found = {path for suffix in ARCHIVE_SUFFIXES for folder in ("", "*/") for path in root.glob(f"{folder}*{suffix}")}
    return sorted(path for path in found if not path.name.startswith("covost_v2."))


def _archive_language(path: Path) -> str:
    """Tell an archive's language: by its name as <lang>.tar.gz or cv-corpus-...-<lang>.tar.gz, or by what it holds."""
    known = {*LANGUAGES, ENGLISH}
    ending = re.search(r"(?:^|[-_.])([a-z]{2}(?:[-_][A-Za-z]{2})?)$", archive_stem(path))
    if ending and corpus_name(ending[1]) in known:
        return corpus_name(ending[1])
    try:
        folder = peek_archive(path).parent
    except ValueError:
        return ""  # if it is the one that is needed, that language is reported as missing
    parts = [corpus_name(part) for part in reversed(folder.parts) if part != "clips"]
    return next((part for part in parts if part in known), "")


def _unpack_english(archive: Path, work_dir: Path, english: str, more_clips: set[str]) -> Path:
    """Unpack the tables and the clips that one of them lists; the tables come first, in a reading of their own."""
    folder = work_dir / "unpacked" / archive_stem(archive) / ENGLISH
    table, wanted = folder / f"{english}.tsv", set[str]()
    if not table.is_file():
        _unpack_recordings(archive, work_dir, ENGLISH, wanted)
        (folder / MARKER).unlink()  # the clips are still to come
    if not table.is_file():
        raise ValueError(f"{archive}: no such table: {english}.tsv; --english takes train or validated")
    while not wanted >= (listed := _clips_of(table) | more_clips):  # again if the table came from another archive
        wanted = listed
        _unpack_recordings(archive, work_dir, ENGLISH, wanted)
    return folder


def _unpack_recordings(archive: Path, work_dir: Path, name: str, wanted: set[str]) -> Path:
    """Unpack the tables and the wanted clips of one language."""
    folder = work_dir / "unpacked" / archive_stem(archive) / name

    def choose(member: str) -> str | None:
        path = PurePosixPath(member)
        if path.parent.name == "clips":
            return f"clips/{path.name}" if clip_name(path.name) in wanted else None
        return path.name if path.name in RELEASE_TABLES else None

    if not (folder / MARKER).is_file():
        _check_space(archive, folder, wanted)
    digest = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()
    unpack(archive, folder, choose, f"clips of {digest}")
    return folder


def _check_space(archive: Path, folder: Path, wanted: set[str]) -> None:
    """Refuse to begin what the disk cannot hold."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = min(archive.stat().st_size, CLIP_BYTES * len(wanted))
    needed -= sum(path.stat().st_size for path in folder.glob("clips/*"))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"{archive}: unpacking needs about {needed / 1e9:.1f} GB below {folder}, {free / 1e9:.1f} GB are free; "
            "make room, or name another place with --work_dir (--downloads of the recipe)"
        )


def _clips_of(table: Path) -> set[str]:
    return {clip_name(path) for _, (path,) in read_tsv(table, ("path",), [])}


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in read_header(path)]
    if missing:
        raise ValueError(f"{path}:1: no column {', '.join(missing)}; found {', '.join(read_header(path))}")


def _listing(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
