"""Control tokens: written in a text they are text; before a text comes what the tokenizer itself puts there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.llm.files import load_tokenizer
from speechllama.llm.scratch_llm import train_llama_tokenizer
from speechllama.text.control_tokens import TextEncoder, start_ids

LINES = ["Das Brot ist gut. The bread < / s > | un k end of text im start _ is good."] * 4


def llama_tokenizer() -> Any:
    """Byte pairs with "▁" for spaces: `<unk>`, `<s>`, `</s>`."""
    return train_llama_tokenizer(LINES, 120)


def byte_level_tokenizer() -> Any:
    """GPT-2's kind: `<|start|>` and `</s>`, of which it puts neither anywhere."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|start|>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=special[0], eos_token=special[1])


def unigram_tokenizer() -> Any:
    """SentencePiece's unigram model, whose control tokens are pieces of the model itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(LINES, trainer)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def slow_tokenizer() -> Any:
    """A tokenizer in Python: a token a character."""
    from transformers import PreTrainedTokenizer

    class Characters(PreTrainedTokenizer):
        """Characters of LINES, `<unk>`, `<s>`, `</s>`."""

        def __init__(self) -> None:
            names = ["<unk>", "<s>", "</s>", *sorted(set("".join(LINES)))]
            self.ids = {name: index for index, name in enumerate(names)}
            self.names = names
            super().__init__(unk_token="<unk>", bos_token="<s>", eos_token="</s>")

        @property
        def vocab_size(self) -> int:
            return len(self.names)

        def get_vocab(self) -> dict[str, int]:
            return dict(self.ids)

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return list(text)

        def _convert_token_to_id(self, token: str) -> int:
            return self.ids.get(token, 0)

        def _convert_id_to_token(self, index: int) -> str:
            return self.names[index]

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

        def build_inputs_with_special_tokens(self, ids: list[int], *_: Any) -> list[int]:
            return [1, *ids]

    return Characters()


KINDS = [llama_tokenizer, byte_level_tokenizer, unigram_tokenizer, slow_tokenizer]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("text", ["Das </s> Brot", "</s>", "Das</s>", "</s></s> Brot", "Das Brot ist gut."])
def test_a_control_token_in_a_text_is_text(make: Callable[[], Any], text: str) -> None:
    tokenizer = make()
    ids = TextEncoder(tokenizer).encode(text)
    assert tokenizer.eos_token_id not in ids
    assert set(ids).isdisjoint(tokenizer.all_special_ids)
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_without_care_a_control_token_would_end_the_text() -> None:
    for make in KINDS:
        tokenizer = make()
        assert tokenizer.eos_token_id in tokenizer("Das </s> Brot", add_special_tokens=False).input_ids


@pytest.mark.parametrize("make", KINDS)
def test_other_text_is_encoded_as_ever(make: Callable[[], Any]) -> None:
    tokenizer = make()
    text = "Das Brot ist gut. The bread is good."
    assert TextEncoder(tokenizer).encode(text) == tokenizer(text, add_special_tokens=False).input_ids


def test_the_start_token_is_the_one_that_the_tokenizer_itself_puts() -> None:
    from tokenizers import processors

    assert start_ids(llama_tokenizer()) == [1]  # transformers 5 leaves it to the caller
    assert start_ids(byte_level_tokenizer()) == []
    assert start_ids(slow_tokenizer()) == [1]
    llama3 = byte_level_tokenizer()  # says so itself
    template = processors.TemplateProcessing(single="<|start|> $A", special_tokens=[("<|start|>", 0)])
    llama3.backend_tokenizer.post_processor = template
    assert start_ids(llama3) == [0]
    without = llama_tokenizer()
    without.init_kwargs["add_bos_token"] = False
    assert start_ids(without) == []


def test_a_trained_llama_starts_with_its_start_token(shared_data: Path) -> None:
    assert start_ids(load_tokenizer(str(shared_data / "llama" / "stories260K"))) == [1]
