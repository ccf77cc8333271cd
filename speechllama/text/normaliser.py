"""Text as it is usually compared in speech recognition: "He's 20, Mr. X!" (en) -> "he is 20 mister x".

Lower case, no punctuation; of English also numbers as figures, contractions and titles written out. The normalisers are
Whisper's. Its English one also writes British words as American; that list is only in files of the hub, so here words
are spelt as they are.

Source: Radford et al., arXiv 2212.04356, appendix C; the code is that of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

ENGLISH = "en"


def normalise(text: str, language: str) -> str:
    """Normalise a text; runs of white space become one space.

    Args:
        text: The text.
        language: Its code, as "en" or "sv-SE"; any but English, and "", keep their words as they are written.
    """
    return " ".join(_normaliser(is_english(language))(text).split())


def describe_normalisers(languages: Iterable[str]) -> str:
    """Name the normalisers of some languages, for a signature: "whisper-english+whisper-basic"."""
    english = [is_english(language) for language in languages] or [False]
    names = [("whisper-english-spelling-kept", True), ("whisper-basic", False)]
    return "+".join(name for name, kind in names if kind in english)


def is_english(language: str) -> bool:
    """Whether a language's code is that of English."""
    return language.lower().replace("_", "-").split("-")[0] == ENGLISH


@cache
def _normaliser(for_english: bool) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    made: Callable[[str], str] = EnglishTextNormalizer({}) if for_english else BasicTextNormalizer()
    return made
