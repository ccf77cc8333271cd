"""Texts that cannot be right are left out, and ordinary ones of every language are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.corpora.covost2.files import COVOST2_LANGUAGES
from speechllama.data.tsv import read_tsv
from speechllama.text.filter import TextFilter, scripts_of, sentence_key


@pytest.mark.parametrize(
    ("language", "sentence", "reason"),
    [
        ("fr", "L'œuvre complète de Достоевский.", ""),
        ("fr", "Достоевский, l'œuvre.", "sentence in another script"),
        ("ru", "Это iPhone.", "sentence in another script"),
        ("ru", "Это хороший iPhone.", ""),
        ("ja", "テレビを見ます。", ""),
        ("zh-CN", "我看电视。", ""),
        ("zh-CN", "wo kan dianshi", "sentence in another script"),
        ("fa", "می\u200cخواهم", ""),  # the joiner is ordinary in Persian
        ("ta", "நான் பார்க்கிறேன்", ""),
        ("de", "12345 ...", "sentence in another script"),
        ("de", "Gr\ufffd\ufffde", "unprintable character in the sentence"),
        ("de", "Tab\x00", "unprintable character in the sentence"),
        ("de", "\ue000 privat", "unprintable character in the sentence"),
        ("tlh", "ᐃᓄᒃᑎᑐᑦ", ""),  # nothing is known of that language
    ],
)
def test_characters_are_judged_by_the_language(language: str, sentence: str, reason: str) -> None:
    assert TextFilter().judge_characters(language, sentence, "English.") == reason
    assert TextFilter(check_characters=False).judge_characters(language, sentence, "English.") == ""


def test_every_language_of_covost2_has_its_script() -> None:
    assert [name for name in COVOST2_LANGUAGES if scripts_of(name) is None] == []


def test_no_sentence_of_the_real_sample_is_left_out(shared_data: Path) -> None:
    tables = sorted(shared_data.glob("common_voice_sample/cv-corpus*/*/validated.tsv"))
    assert len(tables) == 14
    for table in tables:
        for _, (sentence,) in read_tsv(table, ("sentence",), []):
            assert TextFilter().judge_characters(table.parent.name, sentence, "Fine.") == "", (table, sentence)


def test_text_and_audio_must_be_of_about_one_length() -> None:
    limits = TextFilter(min_chars_per_second=1.0, max_chars_per_second=20.0)
    assert limits.judge_ratio("Twenty characters...", "Yes.", 1.0) == ""
    assert limits.judge_ratio("Twenty-one characters", "Yes.", 1.0) == "sentence above 20 characters a second"
    assert limits.judge_ratio("Ordinary.", "Yes.", 5.0) == "translation below 1 characters a second"


def test_sentences_are_the_same_without_case_and_punctuation() -> None:
    assert sentence_key("«Non, STRASSE!»") == sentence_key("non straße")
    assert sentence_key("கி") != sentence_key("கு")  # vowel signs are no punctuation
    assert sentence_key("?!") == "?!"
