"""Texts in one form: composed characters, single spaces, and nothing where there is nothing to see.

text as it comes -> normalise_text -> text of a data directory
"""

from __future__ import annotations

import unicodedata


def normalise_text(text: str) -> str:
    """Compose accents (NFC) and make each run of white space one space; case and punctuation stay.

    A text of only characters without width, such as U+200B, is empty.
    """
    return "" if is_blank(text) else " ".join(unicodedata.normalize("NFC", text).split())


def is_blank(text: str) -> bool:
    """Whether a text has nothing that can be seen or heard: white space, controls, characters without width."""
    if text.isascii():
        return not text.strip()
    return all(mark.isspace() or unicodedata.category(mark) in ("Cf", "Cc") for mark in text)


def is_composed(text: str) -> bool:
    """Whether accents are composed (NFC), as all texts of the recipes are."""
    return unicodedata.is_normalized("NFC", text)
