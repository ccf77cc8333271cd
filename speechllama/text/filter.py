"""Filter transcripts: language, text, duration -> the reason to leave the clip out, or none."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from speechllama.text.targets import DEFAULT_TARGET, TARGETS, find_language

_LATIN = frozenset({"LATIN"})
SCRIPT_SHARE = 0.5  # names and quotations of other scripts are ordinary, a text of mostly them is not
REPLACEMENT = "\ufffd"  # what a wrong decoding leaves


@dataclass(frozen=True)
class TextFilter:
    """Limits of transcripts and translations.

    Attributes:
        check_characters: Leave out texts with unprintable characters or mostly in another script.
        min_chars_per_second: Least characters a second of audio, of transcript and translation each.
        max_chars_per_second: Most of them. Fast reading of Latin script is about 25, so more is another text.
        target: The language of the translations, a name in TARGETS, which knows its scripts.
    """

    check_characters: bool = True
    min_chars_per_second: float = 0.2
    max_chars_per_second: float = 40.0
    target: str = DEFAULT_TARGET

    def judge_characters(self, language: str, sentence: str, translation: str) -> str:
        """Give the reason to leave out a pair of texts, "" for none."""
        if not self.check_characters:
            return ""
        written = frozenset(TARGETS[self.target].scripts)
        for text, scripts, name in (
            (sentence, scripts_of(language), "sentence"),
            (translation, written, "translation"),
        ):
            if any(_is_unprintable(mark) for mark in set(text)):
                return f"unprintable character in the {name}"
            if scripts is not None and not is_in_script(text, scripts):
                return f"{name} in another script"
        return ""

    def judge_ratio(self, sentence: str, translation: str, duration: float) -> str:
        """Give the reason to leave out texts that are too short or too long for their audio, "" for none."""
        for text, name in ((sentence, "sentence"), (translation, "translation")):
            rate = len(text) / duration
            if rate > self.max_chars_per_second:
                return f"{name} above {self.max_chars_per_second:g} characters a second"
            if rate < self.min_chars_per_second:
                return f"{name} below {self.min_chars_per_second:g} characters a second"
        return ""


def scripts_of(language: str) -> frozenset[str] | None:
    """Give the scripts that a language is written in; None for one that is not known."""
    record = find_language(language)
    return None if record is None else frozenset(record.scripts)


def is_in_script(text: str, scripts: frozenset[str]) -> bool:
    """Say whether a text has letters, at least half of them in these scripts."""
    if text.isascii() and scripts == _LATIN:  # the most common case, and a quick one
        return any(map(str.isalpha, text))
    letters = [script for script in map(_script, text) if script]
    return bool(letters) and sum(script in scripts for script in letters) >= SCRIPT_SHARE * len(letters)


@lru_cache(maxsize=1 << 17)
def _script(mark: str) -> str:
    """Name a letter's script; "" for what is no letter."""
    if unicodedata.category(mark)[0] != "L":
        return ""
    return unicodedata.name(mark, "UNKNOWN").split()[0]


@lru_cache(maxsize=1 << 17)
def _is_unprintable(mark: str) -> bool:
    """Say whether a character is a control, a surrogate, private or unassigned, or marks a wrong decoding."""
    return mark == REPLACEMENT or unicodedata.category(mark) in ("Cc", "Cs", "Co", "Cn")


class _Key(dict[int, "int | None"]):
    """Character -> itself, or None for punctuation, symbols, spaces and controls; filled on use."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code))[0] in "PSZC" else code
        return self[code]


_KEY = _Key()
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]»”]*\s+")


def sentence_keys(text: str) -> set[str]:
    """Keys of a text and of each sentence in it."""
    return {sentence_key(part) for part in (text, *SENTENCE_END.split(text))}


def sentence_key(text: str) -> str:
    """Give what makes two sentences the same: their letters, marks and digits, without case."""
    return text.casefold().translate(_KEY) or text
