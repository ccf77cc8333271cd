"""Texts in one form."""

from __future__ import annotations

import pytest

from speechllama.text.clean import is_blank, is_composed, normalise_text


@pytest.mark.parametrize("text", ["", " \t", "\u200b", "\ufeff\u2060 \u200d", "\u3000\u00a0", "\u00ad"])
def test_what_cannot_be_seen_is_no_text(text: str) -> None:
    assert is_blank(text) and normalise_text(text) == ""


def test_accents_are_composed_and_what_joins_letters_stays() -> None:
    assert normalise_text("e\u0301te\u0301  \u0646\u0645\u200c\u06cc") == "\u00e9t\u00e9 \u0646\u0645\u200c\u06cc"
    assert is_composed("\u00e9t\u00e9") and not is_composed("e\u0301t")
