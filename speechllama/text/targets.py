"""The languages: what a translation is written in, and what is known of a source language; to add one, add a record.

en -> TARGETS["en"] -> name for prompts, scripts, spaces or none, tokenizer of BLEU, word order of chrF
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from speechllama.registry import Registry


@dataclass(frozen=True)
class Target:
    """What there is to know of a language.

    Attributes:
        name: Its code, as in the names of corpora: "en".
        language: Its name, as prompts say it: "English".
        scripts: Unicode's names of its scripts, the first words of its letters' names: "LATIN"; Japanese has several.
        bleu_tokenizer: sacreBLEU's tokenizer for it; scores of different ones are not comparable.
        has_spaces: Whether spaces divide words. Without them WER counts a sentence as one word, so CER ranks
            recognition, and BLEU needs a tokenizer that finds words (`ja-mecab`), pieces (`flores200`) or characters
            (`zh`, `char`).
        chrf_word_order: Longest word n-grams that chrF counts besides characters: 0 is chrF, 2 is chrF++.
    """

    name: str
    language: str
    scripts: tuple[str, ...]
    bleu_tokenizer: str = "13a"
    has_spaces: bool = True
    chrf_word_order: int = 0


def _spaced(script: str, names: str) -> list[Target]:
    """Records of languages of one script that have spaces, of "code Name, code Name"."""
    pairs = [entry.strip().split(" ", 1) for entry in names.split(",")]
    return [Target(code, language, (script,)) for code, language in pairs]


_LATIN = (
    "af Afrikaans, ca Catalan, cs Czech, cy Welsh, da Danish, de German, en English, es Spanish, et Estonian, "
    "eu Basque, fi Finnish, fr French, ga Irish, gl Galician, ha Hausa, hr Croatian, hu Hungarian, id Indonesian, "
    "is Icelandic, it Italian, lt Lithuanian, lv Latvian, ms Malay, mt Maltese, nl Dutch, no Norwegian, pl Polish, "
    "pt Portuguese, qu Quechua, ro Romanian, sk Slovak, sl Slovenian, sq Albanian, sv Swedish, sv-SE Swedish, "
    "sw Swahili, tl Filipino, tr Turkish, vi Vietnamese"
)
_OTHERS = {
    "ARABIC": "ar Arabic, fa Persian, ps Pashto, ur Urdu",
    "CYRILLIC": "be Belarusian, bg Bulgarian, kk Kazakh, mk Macedonian, mn Mongolian, ru Russian, uk Ukrainian",
    "DEVANAGARI": "hi Hindi, mr Marathi, ne Nepali",
    "ARMENIAN": "hy Armenian", "BENGALI": "bn Bengali", "ETHIOPIC": "am Amharic", "GEORGIAN": "ka Georgian",
    "GREEK": "el Greek", "GUJARATI": "gu Gujarati", "HEBREW": "he Hebrew", "KANNADA": "kn Kannada",
    "MALAYALAM": "ml Malayalam", "TAMIL": "ta Tamil", "TELUGU": "te Telugu",
}  # fmt: skip
_CHINESE = Target("zh", "Chinese", ("CJK", "BOPOMOFO"), "zh", has_spaces=False)
_KANA = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")
# Words between spaces are long and inflected in Korean, so that sacreBLEU cuts them into morphemes. flores200 are the
# pieces of a SentencePiece model that sacreBLEU downloads once; the word cutters of these scripts are not in sacreBLEU.
_SPECIAL = (
    Target("sr", "Serbian", ("CYRILLIC", "LATIN")),
    Target("ko", "Korean", ("HANGUL", "CJK"), "ko-mecab"),
    _CHINESE,
    replace(_CHINESE, name="zh-CN"),
    replace(_CHINESE, name="zh-TW"),
    Target("ja", "Japanese", _KANA, "ja-mecab", has_spaces=False),
    Target("km", "Khmer", ("KHMER",), "flores200", has_spaces=False),
    Target("lo", "Lao", ("LAO",), "flores200", has_spaces=False),
    Target("my", "Burmese", ("MYANMAR",), "flores200", has_spaces=False),
    Target("th", "Thai", ("THAI",), "flores200", has_spaces=False),
)

TARGETS: Registry[Target] = Registry(
    "target language",
    [*_spaced("LATIN", _LATIN), *(record for entry in _OTHERS.items() for record in _spaced(*entry)), *_SPECIAL],
)
DEFAULT_TARGET = "en"


def choose_target(name: str, bleu_tokenizer: str = "") -> Target:
    """Give a target language; its BLEU is cut by another tokenizer of sacreBLEU's where one is named."""
    return replace(TARGETS[name], bleu_tokenizer=bleu_tokenizer) if bleu_tokenizer else TARGETS[name]


def scored_target(report: Mapping[str, Any]) -> Target:
    """The target language of a score.json, with the tokenizer it was scored with; older scores name neither."""
    return choose_target(str(report.get("target", DEFAULT_TARGET)), str(report.get("bleu_tokenizer", "")))


def find_language(code: str) -> Target | None:
    """Look a language up by its code, or by the code's first part: "de-AT" is German; None if it is not known."""
    base = code.replace("_", "-").split("-")[0].lower()
    return next((TARGETS[name] for name in (code, base) if name in TARGETS), None)


def name_language(code: str) -> str:
    """Name a language as prompts do; by its code where it is not known."""
    record = find_language(code)
    return record.language if record else code


def lack_spaces(languages: Iterable[str]) -> bool:
    """Whether one of some languages is known to be written without spaces between words."""
    found = [find_language(language) for language in languages]
    return any(record is not None and not record.has_spaces for record in found)
