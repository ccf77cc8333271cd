"""Audio encoder: from the compressor's space into the LLM's embedding space.

compressed (B, U, D) -> Transformer (B, U, D) -> projection (B, U, H)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechllama.model.layers import TransformerConfig, TransformerStack, length_mask


class Ends(NamedTuple):
    """What an audio encoder lies between.

    Attributes:
        dim: Width D of the encoder's states.
        num_units: Its CTC units C, blank included; 0 without a CTC head.
        llm_dim: Width H of the LLM.
        embedding_std: Standard deviation of the LLM's input embeddings.
    """

    dim: int
    num_units: int
    llm_dim: int
    embedding_std: float


class AudioEncoder(nn.Module):
    """Four bidirectional layers (or none, for a decoder-only model from scratch) and a projection to the LLM's width.

    A LayerNorm scales the output to the standard deviation of the LLM's embeddings. Vectors of another scale take a
    frozen LLM far from the inputs that it was trained on, and training starts with a large loss.

    Args:
        config: Sizes; the paper's by default (14.7 M with H = 4096).
        input_dim: Width D of the compressed vectors.
        llm_dim: Width H of the LLM.
        embedding_std: Standard deviation of the LLM's input embeddings.

    Source: arXiv 2307.03917 section 4; the scale is ours.
    """

    def __init__(self, config: TransformerConfig, input_dim: int, llm_dim: int, embedding_std: float) -> None:
        super().__init__()
        self.input = nn.Linear(input_dim, config.dim) if input_dim != config.dim else nn.Identity()
        self.transformer = TransformerStack(config)
        self.projection = nn.Linear(config.dim, llm_dim)
        self.norm = nn.LayerNorm(llm_dim)
        with torch.no_grad():
            self.norm.weight.fill_(embedding_std)

    def forward(self, compressed: Tensor, lengths: Tensor) -> Tensor:
        """Embed audio.

        Args:
            compressed: Compressed vectors (B, U, D).
            lengths: Valid vectors (B,), int64, each at least 1.

        Returns:
            Embeddings for the LLM (B, U, H), zero where padded.
        """
        hidden = self.transformer(self.input(compressed), lengths)  # (B, U, D)
        valid = length_mask(lengths, hidden.shape[1])[:, :, None]
        return self.norm(self.projection(hidden)).masked_fill(~valid, 0.0)
