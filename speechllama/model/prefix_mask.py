"""Layout and attention mask of the LLM's input: [padding ; prefix ; text ; padding].

    parts (B, L_i, H) -> prefix (B, P, H), right-aligned; mask (B, 1, Q, N)

The prefix (prompt and audio) ends in the same column for every utterance, so the text starts in one column, in
training as in decoding; position ids count from the utterance's own first token.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from speechllama.faults import InputError
from speechllama.model.layers import length_mask

PrefixMaskName = Literal["causal", "non_causal"]
ALIGNMENT = 8  # elements
PREFIX_MASKS: tuple[PrefixMaskName, ...] = ("causal", "non_causal")


class Prefix(NamedTuple):
    """The LLM's input up to the text.

    Attributes:
        embeddings: Right-aligned vectors (B, P, H), zero where padded.
        lengths: Valid vectors (B,), int64.
    """

    embeddings: Tensor
    lengths: Tensor


def join_right_aligned(parts: list[tuple[Tensor, Tensor]]) -> Prefix:
    """Put padded parts one after the other without gaps, padding in front.

    Args:
        parts: Vectors (B, L_i, H), valid in front, and their lengths (B,).

    Returns:
        The joined prefix of width P = the longest sum of lengths.
    """
    vectors = torch.cat([part for part, _ in parts], dim=1)  # (B, sum of L_i, H)
    valid = torch.cat([length_mask(lengths, part.shape[1]) for part, lengths in parts], dim=1)
    lengths = valid.sum(1)
    # A stable sort by "valid" moves padding to the front and keeps the order of the rest.
    order = valid.to(torch.uint8).argsort(dim=1, stable=True)[:, valid.shape[1] - int(lengths.max()) :]
    joined = vectors.gather(1, order[:, :, None].expand(-1, -1, vectors.shape[2]))
    padded = ~valid.gather(1, order)
    return Prefix(joined.masked_fill(padded[:, :, None], 0.0), lengths)


def position_ids(prefix_lengths: Tensor, prefix_width: int, num_text: int) -> Tensor:
    """Count positions from each utterance's own first token; padding in front of it also gets 0.

    Args:
        prefix_lengths: Valid prefix vectors (B,).
        prefix_width: Columns P of the prefix.
        num_text: Columns of text after it.

    Returns:
        Positions (B, P + num_text), int64.
    """
    column = torch.arange(prefix_width + num_text, device=prefix_lengths.device)[None, :]
    return (column - (prefix_width - prefix_lengths)[:, None]).clamp(min=0)


def visible(prefix_lengths: Tensor, prefix_width: int, num_text: int, kind: PrefixMaskName) -> Tensor:
    """Make the attention mask.

    Text never needs its padding masked: it comes after every valid position. A padded query sees only itself, so
    that no softmax is empty.

    Args:
        prefix_lengths: Valid prefix vectors (B,).
        prefix_width: Columns P of the prefix.
        num_text: Columns of text after it.
        kind: `causal` is the lower triangle; in `non_causal` the prefix attends to itself fully.

    Returns:
        True where a query (row) sees a key (column): (B, 1, N, N) with N = P + num_text.

    Raises:
        ValueError: `kind` is neither.

    Source: arXiv 2307.03917 section 3.3.
    """
    if kind not in PREFIX_MASKS:
        raise InputError(f"unknown prefix_mask {kind!r}, expected one of {', '.join(PREFIX_MASKS)}")
    column = torch.arange(prefix_width + num_text, device=prefix_lengths.device)
    seen = column[None, :] <= column[:, None]  # (N, N)
    if kind == "non_causal":
        in_prefix = column < prefix_width
        seen = seen | (in_prefix[:, None] & in_prefix[None, :])
    real = column[None, :] >= (prefix_width - prefix_lengths)[:, None]  # (B, N)
    itself = torch.eye(len(column), dtype=torch.bool, device=column.device)
    return ((seen & real[:, None, :]) | itself)[:, None]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn True/False into 0/lowest, which every attention implementation of transformers takes.

    Rows start at multiples of 8 elements: a GPU's fused attention would otherwise copy the mask in every layer.
    """
    width = mask.shape[-1]
    rows = torch.zeros(*mask.shape[:-1], -(-width // ALIGNMENT) * ALIGNMENT, dtype=dtype, device=mask.device)
    return rows[..., :width].masked_fill_(~mask, torch.finfo(dtype).min)
