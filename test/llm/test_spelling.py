"""Pieces of text in an LLM's tokens: words and parts of words, with both kinds of tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from speechllama.llm.spelling import spell

TEXTS = ["The dog sleeps today.", "The old woman drinks milk and reads.", "La vieille femme boit du café."] * 3


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """A tokenizer of GPT-2's kind, which puts the space into the token after it and knows every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def llama(tiny_llm: Path) -> Any:
    """A tokenizer of LLaMA's kind, which puts a space in front of each text."""
    return AutoTokenizer.from_pretrained(tiny_llm)


def pieces(text: str, tokenizer: Any) -> list[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(spell(text, tokenizer))
    return found


def test_a_space_in_front_is_the_start_of_a_word_and_no_space_is_none(byte_level: Any, llama: Any) -> None:
    for tokenizer, space in ((byte_level, "Ġ"), (llama, "▁")):
        whole, part = pieces(" dog", tokenizer), pieces("dog", tokenizer)
        assert "".join(whole) == f"{space}dog" and "".join(part) == "dog"
        assert pieces(" ", tokenizer) == [space]
        assert pieces("", tokenizer) == []


def test_the_start_of_a_word_is_read_as_in_a_sentence(byte_level: Any, llama: Any) -> None:
    for tokenizer in (byte_level, llama):
        for word in ("old", "woman", "sleeps"):
            assert (
                spell(f" {word}", tokenizer)
                == tokenizer(f"The {word}", add_special_tokens=False).input_ids[
                    len(tokenizer("The", add_special_tokens=False).input_ids) :
                ]
            )


def test_what_the_llm_cannot_write_has_no_tokens(byte_level: Any, llama: Any) -> None:
    assert spell("ŵ", llama) == []
    assert pieces(" ŵ", llama) == ["▁"]
    assert byte_level.decode(spell("ŵ", byte_level)) == "ŵ"  # two bytes


class Merging:
    """A tokenizer in which what comes before a piece always changes its tokens."""

    unk_token_id = None

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        class Ids:
            input_ids = [len(text)]

        return Ids()


def test_a_tokenizer_that_merges_with_everything_reads_the_piece_by_itself() -> None:
    assert spell(" dog", Merging()) == [3]
