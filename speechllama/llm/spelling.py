"""Pieces of text as an LLM would read them in the middle of a text.

" der", "er" -> ids of [▁der], of [er]
"""

from __future__ import annotations

from typing import Any

ANCHORS = ("\n", "1")  # what a piece may come after; of these tokenizers merge nothing with letters


def spell(text: str, tokenizer: Any) -> list[int]:
    """Return the tokens of a piece of text, which begins a word only if it begins with a space.

    A piece by itself would be read as the start of a word by a SentencePiece tokenizer, which puts a space in front of
    each text. So it is read after something else, and the tokens of that are taken off.

    Args:
        text: The piece, such as a CTC unit's.
        tokenizer: The LLM's, transformers' kind.

    Returns:
        Token ids without unknown ones; none for an empty text.
    """
    if not text:
        return []
    for anchor in ANCHORS:
        start = _encode(anchor, tokenizer)
        tokens = _encode(anchor + text, tokenizer)
        if start and tokens[: len(start)] == start:
            tokens = tokens[len(start) :]
            break
    else:
        tokens = _encode(text.strip(), tokenizer)
    return [token for token in tokens if token != tokenizer.unk_token_id]


def _encode(text: str, tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids
