"""Discrete units: the cluster of each encoder state, and an embedding in the LLM for each cluster.

hidden (B, M, D) -> units (B, M)        units (B, U) -> embeddings (B, U, H)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.model.layers import length_mask


class Codebook(nn.Module):
    """Finds the nearest of K centroids, which k-means has learned (`compress/units.py`) and which stay frozen.

    Args:
        num_clusters: Centroids K.
        dim: Width D of the encoder's states.

    Source: units by k-means on the states of a speech encoder as in AudioPaLM (arXiv 2306.12925, section 3.1); the
    states of a CTC encoder are ours.
    """

    centroids: Tensor

    def __init__(self, num_clusters: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.zeros(num_clusters, dim))

    def set_centroids(self, centroids: Tensor) -> None:
        """Set the centroids (K, D).

        Raises:
            ValueError: Their number or width is not the expected one.
        """
        if centroids.shape != self.centroids.shape:
            found, expected = tuple(centroids.shape), tuple(self.centroids.shape)
            raise InputError(
                f"the centroids are {found[0]} of width {found[1]}, num_clusters and the CTC encoder expect "
                f"{expected[0]} of width {expected[1]}; learn them again (stage compress)"
            )
        self.centroids.copy_(centroids)

    def forward(self, hidden: Tensor) -> Tensor:
        """Name the nearest centroid (B, M), int64, of each state (B, M, D), padded ones included."""
        with torch.autocast(
            hidden.device.type, enabled=False
        ):  # bfloat16's precision would move frames to other clusters
            # |h - c|^2 is least where h c - |c|^2 / 2 is largest
            scores = hidden.float() @ self.centroids.T - self.centroids.square().sum(1) / 2  # (B, M, K)
        return scores.argmax(-1)


class UnitEmbedding(nn.Module):
    """Embeddings of the units, which extend the LLM's input vocabulary and train while the LLM's own stay frozen.

    The LLM reads units and never writes them, so its output layer is not extended.

    Args:
        num_units: Units K.
        llm_dim: Width H of the LLM.
        embedding_std: Standard deviation of the LLM's input embeddings; the new ones start at the same scale.

    Source: AudioPaLM, section 3.2; the scale is ours.
    """

    def __init__(self, num_units: int, llm_dim: int, embedding_std: float) -> None:
        super().__init__()
        self.table = nn.Embedding(num_units, llm_dim)
        nn.init.normal_(self.table.weight, std=embedding_std)

    def forward(self, units: Tensor, lengths: Tensor) -> Tensor:
        """Embed units.

        Args:
            units: Unit numbers (B, U), int64, from 0; any padding value.
            lengths: Valid units (B,), int64, each at least 1.

        Returns:
            Embeddings for the LLM (B, U, H), zero where padded.

        Raises:
            ValueError: The input has no unit numbers, or one of them has no embedding.
        """
        if units.dim() != 2:
            raise InputError(
                f"expected unit numbers (B, U), found vectors {tuple(units.shape)}: another compressor wrote them"
            )
        valid = length_mask(lengths, units.shape[1])
        ids = units.masked_fill(~valid, 0)
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= self.table.num_embeddings:
            raise InputError(
                f"unit {low if low < 0 else high} has no embedding: there are {self.table.num_embeddings}, from 0; "
                "the units were written with another num_clusters, run stage `compress` again"
            )
        embeddings: Tensor = self.table(ids)
        return embeddings.masked_fill(~valid[:, :, None], 0.0)
