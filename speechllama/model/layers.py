"""What several stations share: length masks, positions, a padding-invariant Transformer.

hidden (B, M, D), lengths (B,) -> hidden (B, M, D)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.faults import InputError

REACH = 64  # frames; all greater distances share one bias


def length_mask(lengths: Tensor, width: int) -> Tensor:
    """Mark the positions that hold data.

    Args:
        lengths: Number of valid positions (B,), int64.
        width: Number of columns of the padded tensor.

    Returns:
        True where valid (B, width), bool.
    """
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a Transformer encoder; the defaults are the paper's (arXiv 2307.03917, section 4).

    Attributes:
        num_layers: Layers; with 0 the vectors stay as they are.
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
    """Pre-norm bidirectional Transformer with sinusoidal positions and a learned bias by distance.

    The bias starts as a slope that differs from head to head, so that half of the heads look at neighbours from the
    first step on. With absolute positions only, CTC training on the few hours of the mini recipe did not learn
    to do so.

    Without layers there are neither positions nor a norm, since the LLM that reads the vectors has its own.

    Source: layer sizes arXiv 2307.03917 section 4; pre-norm and positions ours (the paper names neither): the bias
    is that of T5 (arXiv 1910.10683, section 2.1), its start that of ALiBi (arXiv 2108.12409).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if not config.num_layers:
            self.layers = nn.ModuleList()
            return
        if config.dim % config.num_heads or config.dim % 2:
            raise InputError(f"dim {config.dim} must be even and a multiple of num_heads {config.num_heads}")
        self.scale = math.sqrt(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        # From 1/2 to 1/128 a frame, in geometric steps over the heads.
        slopes = [2.0 ** -(1 + 6 * head / max(1, config.num_heads - 1)) for head in range(config.num_heads)]
        bias = [[-slope * abs(distance) for distance in range(-REACH, REACH + 1)] for slope in slopes]
        self.distance_bias = nn.Parameter(torch.tensor(bias))  # (heads, 2 REACH + 1)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Encode.

        Args:
            hidden: Input vectors (B, M, D).
            lengths: Valid vectors (B,), int64, each at least 1.

        Returns:
            Output vectors (B, M, D), zero where padded.
        """
        valid = length_mask(lengths, hidden.shape[1])  # (B, M)
        if not self.layers:
            return hidden.masked_fill(~valid[:, :, None], 0.0)
        positions = sinusoidal_positions(hidden.shape[1], hidden.shape[2], hidden.device)
        hidden = self.dropout(hidden * self.scale + positions.to(hidden.dtype))
        bias = self._bias(hidden.shape[1]).masked_fill(~valid[:, None, None, :], -torch.inf)  # (B, heads, M, M)
        for layer in self.layers:
            hidden = layer(hidden, bias)
        return self.norm(hidden).masked_fill(~valid[:, :, None], 0.0)

    def _bias(self, width: int) -> Tensor:
        """Bias of each head for the frame in column j seen from row i (heads, M, M).

        It is read from the 2 M - 1 distances that there are; a table of M x M of them would take 8 bytes an entry. The
        bias has M x M numbers a head all the same, as attention has, so a long recording goes in segments.
        """
        distance = torch.arange(1 - width, width, device=self.distance_bias.device).clamp(-REACH, REACH) + REACH
        # Row k of unfold begins at distance k + 1 - M, which is what row i = M - 1 - k sees in column 0.
        return self.distance_bias[:, distance].unfold(1, width, 1).flip(1)


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, each after its LayerNorm and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads, self.rate = config.num_heads, config.dropout
        self.attention_norm, self.ffn_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.output = nn.Linear(config.dim, config.dim)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.ffn_dim, config.dim),
        )
        self.dropout = nn.Dropout(config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """One layer: hidden (B, M, D), attention bias (B, heads, M, M) -> hidden (B, M, D)."""
        batch, frames, dim = hidden.shape
        qkv = self.qkv(self.attention_norm(hidden)).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, M, D / heads) each
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), dropout_p=rate)
        hidden = hidden + self.dropout(self.output(seen.transpose(1, 2).reshape(batch, frames, dim)))
        return hidden + self.dropout(self.ffn(self.ffn_norm(hidden)))


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
