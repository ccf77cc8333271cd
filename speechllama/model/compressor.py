"""CTC compressor: from one vector per 40 ms to about one per piece of text.

    states (B, M, D), CTC logits (B, M, C) -> run of each frame (B, M) -> compressed (B, U, D)

Every mode is two steps: say which output vector each frame belongs to, then average the frames of each vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.model.ctc_encoder import BLANK, Encoded, best_units
from speechllama.model.layers import length_mask
from speechllama.model.units import Codebook

CompressorName = Literal["blank_removal", "frame_average", "units", "convolution", "none"]
COMPRESSORS: tuple[CompressorName, ...] = ("blank_removal", "frame_average", "units", "convolution", "none")
CTC_COMPRESSORS = ("blank_removal", "frame_average")  # need CTC labels
CACHED_COMPRESSORS = (*CTC_COMPRESSORS, "units")  # stand on a trained CTC encoder, so that their output can be cached
DROPPED = -1
NUM_CONVOLUTIONS = 3
CONVOLUTION_RATIO = 2**NUM_CONVOLUTIONS
# Encoder frames to a vector where they are a fixed number; others leave at most a vector for each frame.
FIXED_RATIOS = {"convolution": CONVOLUTION_RATIO}


@dataclass(frozen=True)
class CompressorConfig:
    """How the encoder's output is shortened.

    Attributes:
        name: `blank_removal` keeps the frames whose best unit is not blank; `frame_average` averages each run of
            equal best units; `units` gives the number of the nearest k-means centroid, once for each run of equal
            ones; `convolution` is three stride-2 convolutions trained with the LLM; `none` keeps all.
        drop_blank_runs: `frame_average` only: leave out the runs of blanks.
        max_compressed_length: Longest output in vectors; neighbouring runs are merged evenly beyond it. None: no limit.
        num_clusters: `units` only: centroids K.
    """

    name: CompressorName = "frame_average"
    drop_blank_runs: bool = False
    max_compressed_length: int | None = None
    num_clusters: int = 0

    def __post_init__(self) -> None:
        if self.name not in COMPRESSORS:
            raise ValueError(f"compressor {self.name!r} is none of {', '.join(COMPRESSORS)}")
        if self.drop_blank_runs and self.name != "frame_average":
            raise ValueError(f"drop_blank_runs belongs to frame_average, the compressor is {self.name}")
        limit = self.max_compressed_length
        if limit is not None and (limit < 1 or self.name not in CTC_COMPRESSORS):
            raise ValueError(f"max_compressed_length {limit} needs a value of at least 1 and a CTC compressor")
        if self.num_clusters < 0 or (self.num_clusters > 0) != (self.name == "units"):
            raise ValueError(f"num_clusters is {self.num_clusters} with {self.name}: units need it, and only they")


class Compressed(NamedTuple):
    """A shortened batch.

    Attributes:
        vectors: Compressed frames (B, U, D), or unit numbers (B, U, 1) as float32; zero where padded.
        lengths: Valid vectors U (B,), int64, each at least 1.
        runs: Output vector of each encoder frame (B, M), int64; -1 where the frame was dropped or is padding.
            Empty for `convolution`, whose vectors share frames.
    """

    vectors: Tensor
    lengths: Tensor
    runs: Tensor


def build_compressor(config: CompressorConfig, dim: int) -> nn.Module:
    """Make the compressor a config names.

    Args:
        config: Its settings.
        dim: Width D of the encoder's states.

    Returns:
        A module that maps `Encoded` to `Compressed`.
    """
    if config.name == "convolution":
        return ConvolutionCompressor(dim)
    return RunCompressor(config, dim)


class RunCompressor(nn.Module):
    """All modes but `convolution`: no parameters, no loop over frames or utterances.

    A run of equal units becomes the mean of their numbers, which is that number.

    Source: blank_removal arXiv 2307.03917 section 3.1; frame_average Gaido et al. 2021 (arXiv 2102.01578), where a
    run of blanks is a run like any other; the frame kept of an all-blank utterance and the even merging beyond
    `max_compressed_length` are ours.
    """

    def __init__(self, config: CompressorConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.codebook = Codebook(config.num_clusters, dim) if config.name == "units" else None

    def forward(self, encoded: Encoded) -> Compressed:
        """Shorten the encoder's output.

        Args:
            encoded: States (B, M, D), CTC logits (B, M, C), lengths (B,) of at least 1.

        Returns:
            Compressed vectors with the run of each frame. The only host synchronisation reads the shortest and
            the longest output length.
        """
        valid = length_mask(encoded.lengths, encoded.hidden.shape[1])  # (B, M)
        labels = self._label(encoded)
        runs, lengths = self._assign(labels, valid)
        shortest, longest = torch.stack((lengths.min(), lengths.max())).tolist()
        if shortest == 0:
            runs, lengths = keep_least_blank(runs, lengths, encoded.logits, valid)
            longest = max(longest, 1)
        cap = self.config.max_compressed_length
        if cap is not None and longest > cap:
            over = (lengths > cap)[:, None] & (runs != DROPPED)
            runs = torch.where(over, runs * cap // lengths[:, None], runs)
            lengths, longest = lengths.clamp(max=cap), cap
        if self.codebook is None:
            return Compressed(average_runs(encoded.hidden, runs, longest), lengths, runs)
        numbers = average_runs(labels[:, :, None].float(), runs, longest).round()  # (B, U, 1); sums may have rounded
        return Compressed(numbers, lengths, runs)

    def _label(self, encoded: Encoded) -> Tensor:
        """Which frames belong together (B, M): those of one best CTC unit, one nearest centroid, or each by itself."""
        if self.config.name == "none":
            return torch.arange(encoded.hidden.shape[1], device=encoded.hidden.device).expand(encoded.hidden.shape[:2])
        labels: Tensor = best_units(encoded.logits) if self.codebook is None else self.codebook(encoded.hidden)
        return labels

    def _assign(self, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The output vector of each frame (B, M) and the number of vectors (B,); 0 where all is blank."""
        if self.config.name == "blank_removal":
            starts = kept = valid & (labels != BLANK)
        else:
            kept = valid & (labels != BLANK) if self.config.drop_blank_runs else valid
            starts = kept.clone()
            starts[:, 1:] &= labels[:, 1:] != labels[:, :-1]
        index = starts.cumsum(1)
        return torch.where(kept, index - 1, DROPPED), index[:, -1]


def keep_least_blank(runs: Tensor, lengths: Tensor, logits: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Give each utterance without a vector one: its frame with the least blank probability.

    An empty audio would leave the LLM with the prompt alone and the length statistics with a zero.

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
    means = sums.div_(counts.clamp(min=1.0)[:, None])  # in place: fresh memory would take longer than the sums
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
        return Compressed(vectors, lengths, encoded.lengths.new_empty(vectors.shape[0], 0))
