"""Pad the token ids of several utterances to one tensor.

ids of each utterance -> (B, L), padded with -1, and lengths (B,)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PADDING = -1  # of token ids


def pad_ids(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad token ids with -1: (B, L) and lengths (B,), int64."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = torch.full((len(sequences), int(lengths.max())), PADDING)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return padded, lengths
