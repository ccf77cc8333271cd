"""Sentence pairs of Tatoeba: files or URLs -> Pair (lang, sentence, translation), cleaned and counted.

<code>-eng.tsv.gz, .tsv, .txt or .zip; a line is "English<TAB>other", further columns are ignored
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from speechllama.corpora.mini.plan import Pair
from speechllama.data.download import fetch, is_url
from speechllama.faults import InputError, first_ten, raise_all
from speechllama.text.clean import normalise_text
from speechllama.text.filter import TextFilter

CODES = {"de": "deu", "es": "spa", "fr": "fra", "nl": "nld"}  # Tatoeba's (ISO 639-3)
PLACEHOLDER = "{code}"
SUFFIXES = (".tsv.gz", ".txt.gz", ".zip", ".tsv", ".txt")
MAX_BAD_SHARE = 0.05  # of a file's lines


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are kept.

    Attributes:
        min_words: Least words of the English side; "Run!" has a dozen translations and no context to choose by.
        max_words: Most of them.
        max_characters: Most characters of the other side.
    """

    min_words: int = 3
    max_words: int = 20
    max_characters: int = 160

    def judge(self, pair: Pair) -> str:
        """Give the reason to leave a pair out, "" for none."""
        num_words = len(pair.translation.split())
        if num_words < self.min_words:
            return f"fewer than {self.min_words} English words"
        if num_words > self.max_words:
            return f"more than {self.max_words} English words"
        if len(pair.sentence) > self.max_characters:
            return f"longer than {self.max_characters} characters"
        return TextFilter().judge_characters(pair.lang, pair.sentence, pair.translation)


def check_languages(langs: Sequence[str]) -> None:
    """Refuse languages that there is no code for.

    Raises:
        ValueError: No, unknown or repeated languages.
    """
    unknown = [lang for lang in langs if lang not in CODES]
    if unknown:
        raise InputError(f"langs holds {', '.join(map(repr, unknown))}; expected some of {' '.join(CODES)}")
    if not langs or len(set(langs)) != len(langs):
        raise InputError(f"langs is {' '.join(langs)!r}, expected different languages")


def find_pair_files(place: str, langs: Sequence[str], downloads: Path) -> dict[str, Path]:
    """Find the file of every language, and fetch what a URL names.

    Args:
        place: A folder with `<code>-eng.tsv.gz` (or another suffix) of every language; or a path or URL with
            `{code}` where the language's code belongs; or a file or URL, for a single language.
        langs: Languages, of `CODES`.
        downloads: Where fetched files go.

    Returns:
        Files by language.

    Raises:
        FileNotFoundError, ValueError: Files are not there, or cannot be fetched; the message lists all of them.
    """
    check_languages(langs)
    if PLACEHOLDER not in place and (is_url(place) or Path(place).is_file()) and len(langs) > 1:
        raise InputError(
            f"{place}: one file for {len(langs)} languages; put {PLACEHOLDER} where a language's code belongs"
        )
    files: dict[str, Path] = {}
    faults: list[str] = []
    for lang in langs:
        here = place.replace(PLACEHOLDER, CODES[lang])
        if is_url(here):  # the name has the URL in it, so that another URL is not taken for fetched
            files[lang] = downloads / f"{CODES[lang]}-eng.{hashlib.sha1(here.encode()).hexdigest()[:8]}"
            fetch(here, files[lang], check_pairs)
            continue
        names = [Path(here), *(Path(here, f"{CODES[lang]}-eng{end}") for end in SUFFIXES)]
        found = next((path for path in names if path.is_file()), None)
        if found is None:
            ends = "" if PLACEHOLDER in place else f"/{CODES[lang]}-eng with one of {' '.join(SUFFIXES)}"
            faults.append(f"{lang}: no sentence pairs; expected {here}{ends}. Put Tatoeba's there, or give --pairs")
        else:
            files[lang] = found
    raise_all(faults, "sentence pairs")
    return files


def list_pair_files(place: str, langs: Sequence[str]) -> list[str]:
    """List the files of pairs that are here; what a URL gave does not change."""
    found = []
    for lang in langs:
        code = CODES.get(lang, "")
        here = place.replace(PLACEHOLDER, code)
        names = [Path(here), *(Path(here, f"{code}-eng{end}") for end in SUFFIXES)]
        found += [str(path) for path in names if not is_url(here) and path.is_file()]
    return found


def check_pairs(path: Path) -> None:
    """Refuse a file that does not begin as one of pairs does.

    Raises:
        ValueError: It is damaged, or its first line is none.
    """
    with open_pairs(path) as stream:
        first = stream.readline()
    if first.count(b"\t") < 1 or first.lstrip().startswith(b"<"):
        raise InputError(f"{path}:1: expected 'English<TAB>other', found {first[:60]!r}")


@contextmanager
def open_pairs(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of pairs, packed or not, and put every way of being damaged into one message.

    Raises:
        ValueError: It is damaged, or an archive without exactly one table.
    """
    try:
        if zipfile.is_zipfile(path):  # by what it holds: a download may lack the name
            with zipfile.ZipFile(path) as archive:
                tables = [name for name in archive.namelist() if is_table(name)]
                if len(tables) != 1:
                    raise InputError(f"{path}: holds {len(tables)} tables, expected one .txt or .tsv of pairs")
                with archive.open(tables[0]) as stream:
                    yield stream
            return
        with path.open("rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is one in all that matters
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); get it again") from error


def is_table(name: str) -> bool:
    """Say whether a member of an archive is the table; others say what it is, as `_about.txt`."""
    path = PurePosixPath(name)
    return path.suffix in (".txt", ".tsv") and not path.name.startswith(("_", "."))


def read_pairs(path: Path, lang: str, limits: PairFilter) -> list[Pair]:
    """Read a language's pairs, and log what was left out and why.

    Args:
        path: Its file.
        lang: The language.
        limits: Which pairs are kept.

    Returns:
        Pairs in the order of the file, each once.

    Raises:
        ValueError: The file is damaged, has no usable pair, or too many lines that are none.
    """
    kept: dict[Pair, None] = {}
    dropped: Counter[str] = Counter()
    faults: list[str] = []
    num_lines = 0
    with open_pairs(path) as stream:
        for number, raw in enumerate(stream, 1):
            num_lines += 1
            try:
                fields = raw.decode("utf-8-sig").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                faults.append(f"{path}:{number}: not UTF-8 ({error.reason}): {raw[:60]!r}")
                continue
            if len(fields) < 2:
                faults.append(f"{path}:{number}: expected 'English<TAB>other', found {raw[:60]!r}")
                continue
            pair = Pair(lang, normalise_text(fields[1]), normalise_text(fields[0]))
            reason = "duplicate" if pair in kept else limits.judge(pair)
            if reason:
                dropped[reason] += 1
            else:
                kept[pair] = None
    if len(faults) > MAX_BAD_SHARE * num_lines:
        raise InputError(f"{path}: {len(faults):,} of {num_lines:,} lines are no pairs:{first_ten(faults)}")
    if not kept:
        raise InputError(f"{path}: no usable pair among {num_lines:,} lines ({dict(dropped)})")
    if faults:
        dropped["no pair"] = len(faults)
        logging.warning("%s: left out:%s", path, first_ten(faults))
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in dropped.most_common()) or "none left out"
    logging.info("%s: kept %s of %s pairs (%s)", path, f"{len(kept):,}", f"{num_lines:,}", reasons)
    return list(kept)
