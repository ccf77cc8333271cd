"""Find the files of CoVoST 2 and Common Voice, in folders, archives or at a URL."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from speechllama.corpora.covost2.archives import (
    bytes_to_unpack,
    clips_of,
    unpack_english,
    unpack_recordings,
    unpacked_folder,
)
from speechllama.data.archives import (
    ARCHIVE_SUFFIXES,
    MARKER,
    archive_stem,
    open_single,
    peek_archive,
    unpack_single,
)
from speechllama.data.download import fetch, is_url
from speechllama.data.tsv import read_header
from speechllama.faults import InputError, MissingFileError, raise_all
from speechllama.text.targets import DEFAULT_TARGET, TARGETS

ENGLISH = "en"
TABLE_COLUMNS = ("path", "translation", "split")
CLIP_COLUMNS = ("client_id", "path", "sentence")
# CoVoST 2's X->En languages by the names of its tables.
COVOST2_LANGUAGES = "ar ca cy de es et fa fr id it ja lv mn nl pt ru sl sv-SE ta tr zh-CN".split()


@dataclass(frozen=True)
class CorpusPlaces:
    """Where the corpora are.

    Attributes:
        common_voice: Folder with <lang>/validated.tsv, cv-corpus-*/<lang>/validated.tsv or archives (.tar.gz).
        covost2: Folder with covost_v2.<lang>_<target>.tsv or .tsv.tar.gz, also in <lang>/; or the URL below which they
            are.
        work_dir: Where archives are unpacked and tables downloaded.
        target: The language of the translations, a name in TARGETS.
    """

    common_voice: Path
    covost2: str
    work_dir: Path
    target: str = DEFAULT_TARGET

    def has_table(self, name: str) -> bool:
        """Whether CoVoST 2 translates a language: every one but the target, whose transcripts are its targets."""
        return name != self.target


@dataclass(frozen=True)
class Language:
    """Where a language's files are.

    Attributes:
        name: As in the name of CoVoST 2's table ("zh-CN").
        folder: Common Voice's folder, with validated.tsv and clips/.
        table: covost_v2.<name>_<target>.tsv; None for the target language, whose transcripts are its targets.
        archive: The archive that the folder was unpacked from, or that is next to it.
        target: The language of the translations, where there are several; "" where it is that of `CorpusPlaces`.
    """

    name: str
    folder: Path
    table: Path | None
    archive: Path | None = None
    target: str = ""

    @property
    def label(self) -> str:
        """What its speakers and its report are named by: "de"; of several targets the pair, "en-de"."""
        return f"{self.name}-{self.target}" if self.target else self.name


def table_name(name: str, target: str = DEFAULT_TARGET) -> str:
    """Name CoVoST 2's table of a language and a target language: covost_v2.de_en.tsv, covost_v2.en_zh-CN.tsv."""
    return f"covost_v2.{name}_{corpus_name(TARGETS[target].name)}.tsv"


def corpus_name(language: str) -> str:
    """Give CoVoST 2's name of a language: "zh", "zh_cn" and "zh-CN" are one, and so are "sv" and "sv-SE"."""
    wanted = language.replace("_", "-").lower()
    for name in COVOST2_LANGUAGES:
        if wanted in (name.lower(), name.lower().split("-")[0]):
            return name
    return wanted


def find_languages(
    sources: CorpusPlaces,
    languages: Sequence[str],
    more_clips: Callable[[str], set[str]] = lambda name: set(),
    english: str = "validated",
) -> list[Language]:
    """Find every language's files, unpack and download what is needed, and check all headers.

    Args:
        sources: Where to look.
        languages: Names in either corpus; "en" for English with its own transcripts.
        more_clips: Clips of a language that are wanted besides CoVoST 2's.
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
        if sources.has_table(name):
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
                folder = unpacked_folder(archive, sources.work_dir, name)
                if table is None:
                    unpack_english(archive, folder, english, more_clips(name))
                else:
                    unpack_recordings(archive, folder, clips_of(table) | more_clips(name))
            _check_columns(folder / "validated.tsv", CLIP_COLUMNS)
            if not (folder / "clips").is_dir():
                raise MissingFileError(f"{folder / 'clips'}: no such folder; expected the clips next to validated.tsv")
            found.append(Language(name, folder, table, archive))
    raise_all(faults, "corpus")
    return found


@dataclass(frozen=True)
class LanguageSize:
    """What is known of a language before its archives are unpacked.

    Attributes:
        rows: Rows of its table by split; empty while the table is not here yet.
        bytes_to_unpack: Disk that its recordings will take below `work_dir`.
    """

    rows: Counter[str]
    bytes_to_unpack: float


def look_up_languages(sources: CorpusPlaces, languages: Sequence[str], faults: list[str]) -> list[LanguageSize]:
    """Look for every language's files without unpacking or downloading any, before a run.

    Args:
        sources: Where to look.
        languages: As for `find_languages`.
        faults: What is missing, ambiguous or damaged joins them.

    Returns:
        A language each.
    """
    found = []
    for name in sorted({corpus_name(language) for language in languages}):
        rows: Counter[str] = Counter()
        size = 0.0
        if sources.has_table(name):
            with collecting(faults):
                place, table = _locate_table(sources, name)
                rows = count_rows(table if table.is_file() or place is None else place, table.name)
        with collecting(faults):
            folder, archive = _find_recordings(sources, name)
            if folder is None and archive is not None:
                unpacked = unpacked_folder(archive, sources.work_dir, name)
                if not (unpacked / MARKER).is_file():
                    size = bytes_to_unpack(archive, unpacked, sum(rows.values()) or None)
        found.append(LanguageSize(rows, size))
    return found


def count_rows(table: Path, name: str) -> Counter[str]:
    """Rows of a table by split, plain or in its archive; none if it is not there."""
    if not table.is_file():
        return Counter()
    with table.open("rb") if table.suffix == ".tsv" else open_single(table, name) as stream:
        next(iter(stream), None)
        # The split is the last column; training rows beyond the published ones are marked train_covost.
        return Counter(line.rstrip().rpartition(b"\t")[2].decode("utf-8", "replace").split("_")[0] for line in stream)


def list_sources(sources: CorpusPlaces, languages: Sequence[str]) -> tuple[list[str], list[str]]:
    """List what the corpora are made of, as far as it is there; nothing is opened or unpacked.

    Args:
        sources: Where to look.
        languages: As for `find_languages`.

    Returns:
        Tables of both corpora; and the archives of languages whose recordings are not unpacked yet, those included
        whose language only their content tells.
    """
    root, tables, packed = sources.common_voice, [], set()
    found = sorted({*root.glob("*/validated.tsv"), *root.glob("cv-corpus-*/*/validated.tsv")})
    for name in dict.fromkeys(corpus_name(language) for language in languages):
        own = [table for table in found if corpus_name(table.parent.name) == name]
        own += [table.with_name("train.tsv") for table in own if not sources.has_table(name)]
        tables += [table for table in own if table.is_file()]
        if not own:
            packed.add(name)
        folder = Path(sources.covost2)
        places = [place / table_name(name, sources.target) for place in (folder, folder / name)]
        tables += [path for place in places for path in (place, Path(f"{place}.tar.gz")) if path.is_file()]
    archives = _list_archives(root) if packed else []
    wanted = [path for path in archives if _language_in_name(path) in {*packed, ""}]
    return [str(path) for path in tables], [str(path) for path in wanted]


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Put a failure on a list and continue; what is wrong with the machine, such as a full disk, still stops."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        faults.append(str(error))


def _find_table(sources: CorpusPlaces, name: str) -> Path:
    """Find CoVoST 2's table; download or unpack it first where that is needed."""
    place, table = _locate_table(sources, name)
    if place is None:
        if not table.is_file():
            _download_table(sources.covost2.rstrip("/"), table)
    elif place != table and (not table.is_file() or table.stat().st_mtime < place.stat().st_mtime):
        unpack_single(place, table.name, table)
    return table


def _locate_table(sources: CorpusPlaces, name: str) -> tuple[Path | None, Path]:
    """Where CoVoST 2's table comes from (None: the URL) and where it can be read, once it is unpacked or downloaded."""
    file_name, local = table_name(name, sources.target), sources.work_dir / "covost2"
    if is_url(sources.covost2):
        return None, local / hashlib.sha1(sources.covost2.encode()).hexdigest()[:8] / file_name
    folder = Path(sources.covost2)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder; --covost2 names a folder or a URL of CoVoST 2's tables")
    places = [place / f"{file_name}{suffix}" for suffix in ("", ".tar.gz") for place in (folder, folder / name)]
    for place in places:
        if place.is_file() and place.suffix == ".tsv":
            return place, place
        if place.is_file():
            return place, local / hashlib.sha1(str(place.resolve()).encode()).hexdigest()[:8] / file_name
    before, after = table_name("*", sources.target).split("*")
    there = {path.name.removeprefix(before).split(after)[0] for path in folder.glob(f"**/{before}*{after}*")}
    looked = f"{folder}/[{name}/]{file_name}[.tar.gz]"
    raise MissingFileError(f"language {name!r}: looked for {looked}; languages there: {_listing(there)}")


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


def _find_recordings(sources: CorpusPlaces, name: str) -> tuple[Path | None, Path | None]:
    """Find a language's unpacked folder, or else its archive; with a folder, also the archive next to it."""
    root = sources.common_voice
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; --common_voice names where Common Voice is")
    tables = {table for pattern in ("*/validated.tsv", "cv-corpus-*/*/validated.tsv") for table in root.glob(pattern)}
    folders = {path.parent: corpus_name(path.parent.name) for path in sorted(tables)}
    archives = {path: _archive_language(path) for path in _list_archives(root)}
    own_folders = [path for path, language in folders.items() if language == name]
    own_archives = [path for path, language in archives.items() if language == name]
    if len(own_folders) > 1 or (not own_folders and len(own_archives) > 1):
        several = own_folders if own_folders else own_archives
        listed = ", ".join(map(str, several))
        raise InputError(f"language {name!r} is there {len(several)} times ({listed}); give the folder of one release")
    if not own_folders and not own_archives:
        looked = f"{root}/[cv-corpus-*/]{name}/validated.tsv and an archive of it (.tar.gz)"
        there = {*folders.values(), *archives.values()} - {""}
        raise MissingFileError(f"language {name!r}: looked for {looked}; languages there: {_listing(there)}")
    return (own_folders[0] if own_folders else None), (own_archives[0] if own_archives else None)


def _list_archives(root: Path) -> list[Path]:
    found = {path for suffix in ARCHIVE_SUFFIXES for folder in ("", "*/") for path in root.glob(f"{folder}*{suffix}")}
    return sorted(path for path in found if not path.name.startswith("covost_v2."))


def _language_in_name(path: Path) -> str:
    """Tell an archive's language by its name, as <lang>.tar.gz or cv-corpus-...-<lang>.tar.gz; "" if it has none."""
    ending = re.search(r"(?:^|[-_.])([a-z]{2}(?:[-_][A-Za-z]{2})?)$", archive_stem(path))
    return corpus_name(ending[1]) if ending and corpus_name(ending[1]) in {*COVOST2_LANGUAGES, ENGLISH} else ""


def _archive_language(path: Path) -> str:
    """Tell an archive's language by its name, or else by what it holds; "" where neither says."""
    named = _language_in_name(path)
    if named:
        return named
    try:
        folder = peek_archive(path).parent
    except ValueError:
        return ""  # if it is the one that is needed, that language is reported as missing
    parts = [corpus_name(part) for part in reversed(folder.parts) if part != "clips"]
    return next((part for part in parts if part in {*COVOST2_LANGUAGES, ENGLISH}), "")


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in read_header(path)]
    if missing:
        raise InputError(f"{path}:1: no column {', '.join(missing)}; found {', '.join(read_header(path))}")


def _listing(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
