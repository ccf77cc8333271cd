"""What an LLM's tokenizer does with control tokens: those written in a text, and the one it puts before a text.

"Das </s> Brot" -> ids of the characters `<`, `/`, `s`, `>`, never the end of sequence
"""

from __future__ import annotations

from typing import Any

PROBE = "a"  # any text that every tokenizer can encode


class TextEncoder:
    """Encodes text as text.

    A tokenizer of transformers reads `</s>` in a text as the end of sequence. Among training labels that would be an
    end in the middle, and decoding would lose it.

    Args:
        tokenizer: transformers' kind, fast or slow.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)  # means a character without a token, not a written `<unk>`
        self._control = {token: text for token, text in _control_tokens(tokenizer).items() if token != unknown}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without start and end token."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        if self._control.keys().isdisjoint(ids):
            return ids
        # A unigram model has its control tokens among its pieces, where no option reaches them.
        return [piece for token in ids for piece in (self._spell(token) if token in self._control else [token])]

    def _spell(self, token: int) -> list[int]:
        """The ids of a control token's characters: those of its first one, then those of the others."""
        text = self._control[token]
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        parts = (text[:1], text[1:])
        if backend is not None:  # its model by itself puts no space in front
            return [piece.id for part in parts for piece in backend.model.tokenize(part)]
        pieces = [piece for part in parts for piece in self.tokenizer.tokenize(part, split_special_tokens=True)]
        ids: list[int] = self.tokenizer.convert_tokens_to_ids(pieces)
        return ids


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    return dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def start_ids(tokenizer: Any) -> list[int]:
    """What a tokenizer itself puts before a text: its start token, or nothing.

    SmolLM2, GPT-2 and Qwen learned text without a start token, though some of them name one: real SmolLM2-135M-Instruct
    needs 3.09 nats a token for English sentences after our prompt without it and 3.23 with it.

    Args:
        tokenizer: transformers' kind, fast or slow.

    Returns:
        Ids: what comes before the ids of a text when special tokens are asked for. Where there is none, the
        `bos_token` of tokenizers of LLaMA's kind ("\u2581" for spaces): these LLMs learned text with it, and
        transformers 5 leaves it to the caller. Nothing for byte-level tokenizers, and where `add_bos_token` is false.
    """
    plain = tokenizer(PROBE, add_special_tokens=False).input_ids
    whole = tokenizer(PROBE).input_ids
    start: list[int] = next(
        (whole[:place] for place in range(len(whole)) if whole[place : place + len(plain)] == plain), []
    )
    if start or tokenizer.bos_token_id is None or leaves_out_start(tokenizer):
        return start
    return [tokenizer.bos_token_id]


def leaves_out_start(tokenizer: Any) -> bool:
    """Whether a tokenizer with a start token means to put none."""
    if getattr(tokenizer, "init_kwargs", {}).get("add_bos_token") is False:
        return True
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in repr(backend.decoder)
