"""Subword regularisation of the text LLM's source sentences."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from speechllama.llm.files import load_tokenizer
from speechllama.llm.subword_cuts import SubwordCutter

SENTENCES = ("the cat sees the small house", "Wann hat er das Fenster aufgemacht?", "größer als 3,5")


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_llm: Path) -> Any:
    """The tiny LLM's tokenizer."""
    return load_tokenizer(str(tiny_llm))


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("text", SENTENCES)
def test_cut_words_decode_to_the_text_the_tokenizer_gives(tiny_tokenizer: Any, text: str) -> None:
    whole = tiny_tokenizer.decode(ids_of(tiny_tokenizer, text))
    for seed in range(20):
        cut = SubwordCutter(tiny_tokenizer, 1.0).encode(text, random.Random(seed))
        assert tiny_tokenizer.decode(cut) == whole


def test_without_a_share_the_ids_are_the_tokenizers(tiny_tokenizer: Any) -> None:
    for text in SENTENCES[:2]:
        assert SubwordCutter(tiny_tokenizer, 0.0).encode(text, random.Random(1)) == ids_of(tiny_tokenizer, text)


def test_the_same_seed_cuts_alike_and_others_otherwise(tiny_tokenizer: Any) -> None:
    cutter = SubwordCutter(tiny_tokenizer, 0.7)
    cuts = [cutter.encode(SENTENCES[0], random.Random(seed)) for seed in (1, 1, 2, 3, 4)]
    assert cuts[0] == cuts[1]
    assert len({tuple(cut) for cut in cuts}) > 2


def test_the_share_is_the_share_of_words_that_are_cut(tiny_tokenizer: Any) -> None:
    text = " ".join(["sleeps"] * 2000)  # a word of the tokenizer's training
    word = ids_of(tiny_tokenizer, "sleeps")
    assert len(word) < 4
    long_way = SubwordCutter(tiny_tokenizer, 1.0).encode(text, random.Random(1))
    half_way = SubwordCutter(tiny_tokenizer, 0.5).encode(text, random.Random(1))
    added = (len(half_way) - 2000 * len(word)) / (len(long_way) - 2000 * len(word))
    assert 0.45 < added < 0.55


def test_an_impossible_share_is_refused(tiny_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="cut_share 1.5"):
        SubwordCutter(tiny_tokenizer, 1.5)


def test_a_control_token_in_a_source_sentence_is_text(tiny_tokenizer: Any) -> None:
    for share in (0.0, 1.0):
        ids = SubwordCutter(tiny_tokenizer, share).encode("the </s> cat", random.Random(1))
        assert tiny_tokenizer.eos_token_id not in ids
