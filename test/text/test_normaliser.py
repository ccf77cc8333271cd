"""Text as speech recognition compares it, in English and in other languages."""

from __future__ import annotations

import pytest

from speechllama.text.normaliser import describe_normalisers, normalise


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [  # what Whisper's own normalisers make of them, by hand
        ("en", "MISTER JONES IS HERE", "mister jones is here"),
        ("en", "Mr. Jones's here, isn't he?", "mister jones is here is not he"),
        ("en", "twenty one  men", "21 men"),
        ("en-GB", "The honour's his.", "the honour is his"),  # British spelling stays
        ("de", "Grüße, aus der Straße!", "grüße aus der straße"),  # ß is not ss, and a number stays a word
        ("de", "zwei Männer", "zwei männer"),
        ("", "It's  HIS.", "it s his"),
        ("zh-CN", "你好，世界。", "你好 世界"),
        ("fr", "  L'été\u00a0! ", "l été"),
    ],
)
def test_a_text_is_compared_without_case_and_punctuation(language: str, text: str, expected: str) -> None:
    assert normalise(text, language) == expected


def test_the_signature_names_the_normalisers_that_were_used() -> None:
    english, basic = "whisper-english-spelling-kept", "whisper-basic"
    assert describe_normalisers(["en", "en"]) == english
    assert describe_normalisers(["de", "fr"]) == basic == describe_normalisers([])
    assert describe_normalisers(["de", "en"]) == f"{english}+{basic}"
