"""Subword regularisation with a seed: cut words into other pieces than the tokenizer would.

    "die Kinder", share 0.6 -> ids of [▁di, e, ▁Kinder] now, of [▁, die, ▁Ki, nder] another time

What an audio encoder gives an LLM resembles short pieces of words (a vector for every CTC unit), not the long pieces a
tokenizer prefers. An LLM that has read its words in many cuts understands them sooner.
"""

from __future__ import annotations

import random
from typing import Any

from speechllama.faults import InputError
from speechllama.text.control_tokens import TextEncoder

LENGTHS = (1, 2, 2, 3, 3, 4)  # characters of a cut piece, drawn from here; CTC's small units are about as long


class SubwordCutter:
    """Encodes text with some of its words cut at random places.

    Args:
        tokenizer: A transformers tokenizer whose pieces are characters of the text, such as LLaMA's ("▁" for spaces).
        share: Share of the words that are cut, 0 to 1.

    Raises:
        ValueError: The share is outside 0 to 1.

    Source: ours; the idea is that of subword regularisation (arXiv 1804.10959) and BPE-dropout (arXiv 1910.13267),
    whose libraries take no seed.
    """

    def __init__(self, tokenizer: Any, share: float) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"cut_share {share} is not between 0 and 1")
        self.tokenizer = tokenizer
        self.encoder = TextEncoder(tokenizer)
        self.share = share
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.special = set(tokenizer.all_special_ids)  # an unknown character's piece is "<unk>", no text to cut
        self._words: dict[str, list[tuple[int, str]]] = {}  # a corpus has few words, and asking the tokenizer is slow

    def encode(self, text: str, draw: random.Random) -> list[int]:
        """Ids of a text, without start or end token; they decode to the same text as the tokenizer's own.

        Args:
            text: One line.
            draw: Where the cuts come from.
        """
        ids: list[int] = []
        for word in text.split():
            pieces = self._pieces(word)
            ids += self._cut(pieces, draw) if draw.random() < self.share else [whole for whole, _ in pieces]
        return ids

    def _pieces(self, word: str) -> list[tuple[int, str]]:
        """The tokenizer's own pieces of a word: ids and texts."""
        if word not in self._words:
            ids = self.encoder.encode(word)
            self._words[word] = list(zip(ids, self.tokenizer.convert_ids_to_tokens(ids), strict=True))
        return self._words[word]

    def _cut(self, pieces: list[tuple[int, str]], draw: random.Random) -> list[int]:
        """Cut each piece into parts that the vocabulary has; a piece without such parts stays whole."""
        cut: list[int] = []
        for whole, piece in pieces:
            parts: list[int] = []
            start = len(piece) if whole in self.special else 0
            while start < len(piece):
                end = min(len(piece), start + draw.choice(LENGTHS))
                while end > start + 1 and piece[start:end] not in self.vocabulary:
                    end -= 1
                parts.append(self.vocabulary.get(piece[start:end], -1))
                start = end
            cut += [whole] if not parts or -1 in parts else parts
        return cut
