"""The compressors as modules: from one vector per 40 ms to about one per piece of text.

    states (B, M, D), CTC logits (B, M, C) -> run of each frame (B, M) -> compressed (B, U, D)

All but `convolution` assign each frame to an output vector, then average the frames of each vector. The records of the
compressors, with their settings, are in compressors.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import BLANK
from speechllama.faults import InputError
from speechllama.model.audio import Compressed, Encoded
from speechllama.model.compressors import COMPRESSORS, CONVOLUTION_RATIO
from speechllama.model.ctc_encoder import best_units, find_starts
from speechllama.model.layers import length_mask
from speechllama.model.units import Codebook
from speechllama.registry import choose

DROPPED = -1
NUM_CONVOLUTIONS = CONVOLUTION_RATIO.bit_length() - 1  # each halves the length


def build_compressor(name: str, conf: dict[str, Any], dim: int, where: str = "compressor_conf") -> nn.Module:
    """Build a compressor by name.

    Args:
        name: In COMPRESSORS.
        conf: Its settings.
        dim: Width D of the encoder's states.
        where: Name of the settings, for messages.

    Returns:
        A module that maps `Encoded` to `Compressed`.

    Raises:
        ValueError: There is no such compressor, or a setting is unknown or does not fit.
    """
    return choose(COMPRESSORS, name, conf, where).build(dim)


class BlankRemoval(nn.Module):
    """Keeps the frames whose best CTC unit is not blank, repeats included.

    Args:
        max_compressed_length: Longest output; neighbouring frames are averaged evenly beyond it. None: no limit.

    Source: arXiv 2307.03917 section 3.1; the frame kept of an all-blank utterance and the limit are ours.
    """

    def __init__(self, max_compressed_length: int | None = None) -> None:
        super().__init__()
        self.max_compressed_length = max_compressed_length

    def forward(self, encoded: Encoded) -> Compressed:
        """Shorten the encoder's output (B, M, D)."""
        valid = length_mask(encoded.lengths, encoded.hidden.shape[1])  # (B, M)
        kept = valid & (label_frames(encoded) != BLANK)
        return average_kept(encoded, kept, kept, self.max_compressed_length)


class FrameAverage(nn.Module):
    """Averages each run of frames with the same best CTC unit.

    Args:
        drop_blank_runs: Leave out the runs of blanks; otherwise they are averaged like other runs.
        max_compressed_length: Longest output; neighbouring runs are merged evenly beyond it. None: no limit.

    Source: Gaido et al. 2021 (arXiv 2102.01578); the frame kept of an all-blank utterance and the even merging are
    ours.
    """

    def __init__(self, drop_blank_runs: bool = False, max_compressed_length: int | None = None) -> None:
        super().__init__()
        self.drop_blank_runs, self.max_compressed_length = drop_blank_runs, max_compressed_length

    def forward(self, encoded: Encoded) -> Compressed:
        """Shorten the encoder's output (B, M, D)."""
        labels = label_frames(encoded)
        kept = length_mask(encoded.lengths, encoded.hidden.shape[1])  # (B, M)
        if self.drop_blank_runs:
            kept = kept & (labels != BLANK)
        return average_kept(encoded, kept, kept & find_starts(labels), self.max_compressed_length)


class UnitCompressor(nn.Module):
    """Gives the number of the nearest centroid of each frame, once for each run of equal ones.

    Args:
        num_clusters: Centroids K.
        dim: Width D of the encoder's states.
    """

    def __init__(self, num_clusters: int, dim: int) -> None:
        super().__init__()
        self.codebook = Codebook(num_clusters, dim)

    def forward(self, encoded: Encoded) -> Compressed:
        """Replace the encoder's output (B, M, D) by unit numbers (B, U), int64."""
        labels: Tensor = self.codebook(encoded.hidden)  # (B, M)
        valid = length_mask(encoded.lengths, labels.shape[1])
        starts = valid & find_starts(labels)
        runs, lengths = number_runs(valid, starts)
        longest = int(lengths.max())
        # Column `longest` collects the frames that start no run, and is cut off.
        column = torch.where(starts, runs, longest)
        units = labels.new_zeros(len(labels), longest + 1).scatter_(1, column, labels)[:, :longest]
        return Compressed(units, lengths, runs)


class NoCompressor(nn.Module):
    """Keeps every frame."""

    def forward(self, encoded: Encoded) -> Compressed:
        """Return the encoder's output (B, M, D), zero where padded."""
        valid = length_mask(encoded.lengths, encoded.hidden.shape[1])
        frames = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
        vectors = encoded.hidden.masked_fill(~valid[:, :, None], 0.0)
        return Compressed(vectors, encoded.lengths, torch.where(valid, frames, DROPPED))


def label_frames(encoded: Encoded) -> Tensor:
    """Name the best CTC unit of each frame (B, M).

    Raises:
        ValueError: The encoder has no CTC head.
    """
    if not encoded.logits.shape[2]:
        raise InputError("this compressor needs CTC logits, and the encoder has no CTC head; choose another of the two")
    return best_units(encoded.logits)


def number_runs(kept: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Number the runs: the output vector of each frame (B, M), -1 if it is not kept, and the number of vectors (B,)."""
    index = starts.cumsum(1)
    return torch.where(kept, index - 1, DROPPED), index[:, -1]


def average_kept(encoded: Encoded, kept: Tensor, starts: Tensor, limit: int | None) -> Compressed:
    """Average the runs of the frames that are kept.

    Args:
        encoded: States (B, M, D), CTC logits (B, M, C), lengths (B,) of at least 1.
        kept: Frames that belong to a vector (B, M).
        starts: Those of them that begin one (B, M).
        limit: Longest output in vectors; None for no limit.

    Returns:
        Compressed vectors with the run of each frame. The only synchronisation with the GPU reads the shortest and
        the longest output length.
    """
    runs, lengths = number_runs(kept, starts)
    shortest, longest = torch.stack((lengths.min(), lengths.max())).tolist()
    if shortest == 0:
        valid = length_mask(encoded.lengths, encoded.hidden.shape[1])
        runs, lengths = keep_least_blank(runs, lengths, encoded.logits, valid)
        longest = max(longest, 1)
    if limit is not None and longest > limit:
        over = (lengths > limit)[:, None] & (runs != DROPPED)
        runs = torch.where(over, runs * limit // lengths[:, None], runs)
        lengths, longest = lengths.clamp(max=limit), limit
    return Compressed(average_runs(encoded.hidden, runs, longest), lengths, runs)


def keep_least_blank(runs: Tensor, lengths: Tensor, logits: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Give each utterance without a vector one: its frame with the least blank probability.

    Without a vector the LLM would see only the prompt, and the length statistics would have a zero.

    Args:
        runs: Output vector of each frame (B, M).
        lengths: Number of vectors (B,).
        logits: CTC logits (B, M, C).
        valid: True where a frame holds data (B, M).

    Returns:
        Runs and lengths in which every utterance has at least one vector.
    """
    blank = logits[:, :, BLANK].float() - logits.float().logsumexp(-1)  # (B, M)
    frame = blank.masked_fill(~valid, torch.inf).argmin(1)  # (B,)
    chosen = F.one_hot(frame, runs.shape[1]).bool() & (lengths == 0)[:, None]
    return runs.masked_fill(chosen, 0), lengths.clamp(min=1)


def average_runs(hidden: Tensor, runs: Tensor, width: int) -> Tensor:
    """Average the frames of each run, in float32, with gradients to every frame kept.

    Args:
        hidden: Frames (B, M, D).
        runs: Output vector of each frame (B, M), int64, -1 for none.
        width: Longest output U.

    Returns:
        Means (B, U, D), zero where no frame belongs.
    """
    batch, _, dim = hidden.shape
    # Column `width` collects the dropped frames and is cut off: index_add_ needs a place for each of them.
    column = torch.where(runs == DROPPED, width, runs)
    row = torch.arange(batch, device=runs.device)[:, None] * (width + 1)
    index = (row + column).flatten()
    sums = hidden.new_zeros(batch * (width + 1), dim, dtype=torch.float32)
    sums = sums.index_add_(0, index, hidden.reshape(-1, dim).float())
    counts = torch.zeros(batch * (width + 1), device=hidden.device).index_add_(
        0, index, torch.ones_like(index, dtype=torch.float32)
    )
    means = sums.div_(
        counts.clamp(min=1.0)[:, None]
    )  # in place, since allocating memory would take longer than the sums
    return means.view(batch, width + 1, dim)[:, :width].to(hidden.dtype)


class ConvolutionCompressor(nn.Module):
    """Strided convolutions in place of CTC (system E0): each halves the length.

    Source: arXiv 2307.03917 section 4 (three strided conv1d layers, trained jointly through the LLM loss); kernel 3
    and stride 2 are ours.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, 3, stride=2, padding=1) for _ in range(NUM_CONVOLUTIONS))

    def forward(self, encoded: Encoded) -> Compressed:
        """Shorten the encoder's output eight times; padding is zero before each layer."""
        hidden, lengths = encoded.hidden.transpose(1, 2), encoded.lengths  # (B, D, M)
        for conv in self.convs:
            hidden = hidden * length_mask(lengths, hidden.shape[2])[:, None].to(hidden.dtype)
            hidden, lengths = F.relu(conv(hidden)), (lengths + 1) // 2
        valid = length_mask(lengths, hidden.shape[2])[:, :, None]
        vectors = hidden.transpose(1, 2).masked_fill(~valid, 0.0)  # (B, U, D)
        return Compressed(vectors, lengths)
