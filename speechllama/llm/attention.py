"""The attention that a causal LM of transformers is asked for: its implementation, and the mask of each kind of layer.

seen (B, 1, Q, N), positions (B, N) -> additive mask (B, 1, Q, N), or one for each kind of layer

Layers with a sliding window or with chunks see less than the others. The window is a distance in positions, not in
columns: padding comes first, and the hypotheses of a search are columns of one row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 8  # elements
SLIDING, CHUNKED = "sliding_attention", "chunked_attention"  # names of transformers, in `layer_types`


def choose_attention(name: str, model_class: type[Any]) -> str:
    """The attention implementation that a config names; `auto` is sdpa where a class of transformers has it.

    Some need eager: softcapping (Gemma 2) and attention sinks (gpt-oss) are not in torch's function.
    """
    if name != "auto":
        return name
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def attention_mask(config: Any, seen: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Make the mask that a model takes: one tensor, or one for each kind of layer where kinds see differently.

    Within the prefix of a non-causal system a window reaches as far ahead as it reaches back: a layer never sees
    farther than it has learned to, and a chunk stays a chunk.

    Args:
        config: The text LLM's transformers config.
        seen: True where a query sees a key in a layer without a window (B, 1, Q, N).
        positions: Position ids of all columns (B, N); the queries are the last Q.
        dtype: The model's.

    Returns:
        Additive mask (B, 1, Q, N), or masks by the names of `layer_types`.

    Source: the masks of transformers; ours is the window ahead.
    """
    kinds = list(dict.fromkeys(getattr(config, "layer_types", None) or [])) or [_only_kind(config)]
    if not {SLIDING, CHUNKED} & {*kinds}:
        return additive(seen, dtype)
    masks = {kind: additive(_narrow(config, kind, seen, positions), dtype) for kind in kinds}
    return masks if len(masks) > 1 else masks[kinds[0]]


def _only_kind(config: Any) -> str:
    """The kind of all layers of a model that does not list them (Mistral, Phi 3)."""
    if getattr(config, "sliding_window", None) is not None:
        return SLIDING
    return CHUNKED if getattr(config, "attention_chunk_size", None) is not None else ""


def _narrow(config: Any, kind: str, seen: Tensor, positions: Tensor) -> Tensor:
    """What a query of a kind of layer sees (B, 1, Q, N): of `seen` what is in its window or its chunk."""
    window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
    keys, queries = positions[:, None, :], positions[:, -seen.shape[2] :, None]
    if kind == SLIDING and window is not None:
        return seen & ((queries - keys).abs() < window)[:, None]
    if kind == CHUNKED and chunk is not None:
        return seen & (queries // chunk == keys // chunk)[:, None]
    return seen


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn True/False into 0/lowest, which every attention implementation of transformers takes.

    Rows start at multiples of 8 elements: a GPU's fused attention would otherwise copy the mask in every layer.
    """
    width = mask.shape[-1]
    rows = torch.zeros(*mask.shape[:-1], -(-width // ALIGNMENT) * ALIGNMENT, dtype=dtype, device=mask.device)
    return rows[..., :width].masked_fill_(~mask, torch.finfo(dtype).min)
