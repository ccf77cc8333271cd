"""What several stations share: masks from lengths, positions, and a padding-invariant Transformer.

    hidden (B, M, D), lengths (B,) -> hidden (B, M, D)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PADDING = -1  # of token ids


def length_mask(lengths: Tensor, width: int) -> Tensor:
    """Mark the positions that hold data.

    Args:
        lengths: Number of valid positions (B,), int64.
        width: Number of columns of the padded tensor.

    Returns:
        True where valid (B, width), bool.
    """
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


def pad_ids(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad token ids with -1: (B, L) and lengths (B,), int64."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = torch.full((len(sequences), int(lengths.max())), PADDING)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return padded, lengths


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a Transformer encoder; the defaults are the paper's (arXiv 2307.03917, section 4).

    Attributes:
        num_layers: Layers.
        dim: Width D.
        num_heads: Attention heads; must divide `dim`.
        ffn_dim: Width of the feed-forward layer.
        dropout: Dropout rate, 0 to 1.
    """

    num_layers: int = 4
    dim: int = 512
    num_heads: int = 8
    ffn_dim: int = 2048
    dropout: float = 0.1


class TransformerStack(nn.Module):
    """Pre-norm bidirectional Transformer with sinusoidal positions.

    Source: layer sizes arXiv 2307.03917 section 4; pre-norm and sinusoidal positions ours (the paper names neither).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.dim % config.num_heads or config.dim % 2:
            raise ValueError(f"dim {config.dim} must be even and a multiple of num_heads {config.num_heads}")
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.dim, config.num_heads, config.ffn_dim, config.dropout, "relu", batch_first=True, norm_first=True
        )
        # Nested tensors would change the output's width with the batch's longest utterance.
        self.layers = nn.TransformerEncoder(
            layer, config.num_layers, norm=nn.LayerNorm(config.dim), enable_nested_tensor=False
        )
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)  # nn.TransformerEncoder copies one layer: all would start equal
        self.scale = math.sqrt(config.dim)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Encode.

        Args:
            hidden: Input vectors (B, M, D).
            lengths: Valid vectors (B,), int64, each at least 1.

        Returns:
            Output vectors (B, M, D), zero where padded.
        """
        valid = length_mask(lengths, hidden.shape[1])  # (B, M)
        positions = sinusoidal_positions(hidden.shape[1], hidden.shape[2], hidden.device)
        hidden = self.dropout(hidden * self.scale + positions.to(hidden.dtype))
        hidden = self.layers(hidden, src_key_padding_mask=~valid)
        return hidden.masked_fill(~valid[:, :, None], 0.0)


def sinusoidal_positions(length: int, dim: int, device: torch.device) -> Tensor:
    """Sine and cosine positions of Vaswani et al. 2017 (arXiv 1706.03762, section 3.5).

    Args:
        length: Number of positions M.
        dim: Width D, even.
        device: Where to make them.

    Returns:
        Positions (M, D), float32.
    """
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / dim))
    angle = position * rate  # (M, D / 2)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(length, dim)
