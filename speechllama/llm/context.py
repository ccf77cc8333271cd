"""How many positions an LLM has: its context, which prompt, audio and text share.

config.json -> positions; what a prefix leaves of them for text
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def context_length(architecture: Any, random_weights: bool = False) -> int | None:
    """Find the positions of an LLM.

    Beyond a table of learned positions (GPT-2) there is an IndexError; beyond what rotary positions were trained on,
    text that gets worse without a word.

    Args:
        architecture: Its transformers config.
        random_weights: It starts without any training: rotary positions then learn what they are given.

    Returns:
        `max_position_embeddings` by whatever name the architecture has for it; None where it has no limit.
    """
    text = architecture.get_text_config()
    is_rotary = bool(getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None))
    if random_weights and (is_rotary or hasattr(text, "rope_theta")):
        return None
    found = getattr(text, "max_position_embeddings", None)
    return int(found) if isinstance(found, int) and found > 0 else None


def read_context(path: str, revision: str | None = None, random_weights: bool = False) -> int | None:
    """Find the positions of an LLM that is not loaded; arguments as `load_tokenizer` and `context_length`."""
    from transformers import AutoConfig

    return context_length(AutoConfig.from_pretrained(path, revision=revision), random_weights)


def tokens_left(context: int | None, prefix_lengths: Tensor) -> Tensor:
    """Count the tokens, the end of sequence included, that an LLM can write after a prefix.

    The last token has no position of its own, since nothing is asked after it.

    Args:
        context: The LLM's positions; None: without a limit.
        prefix_lengths: Positions that are taken (B,), int64.

    Returns:
        Tokens (B,), int64; below 1 where not even the prefix fits.
    """
    if context is None:
        return torch.full_like(prefix_lengths, torch.iinfo(torch.int64).max)
    return torch.where(prefix_lengths > context, 0, context - prefix_lengths + 1)
