"""CTC encoder: from features to states and CTC logits. Trained on transcripts with CTC, then frozen.

features (B, T, F) -> normalised -> conv2d 4x (B, M, D) -> Transformer (B, M, D) -> CTC logits (B, M, C)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import BLANK, FRAME_SHIFT, NUM_MELS, SUBSAMPLING
from speechllama.faults import InputError
from speechllama.model.audio import Encoded
from speechllama.model.layers import TransformerConfig, TransformerStack, length_mask
from speechllama.model.spec_augment import SpecAugment, SpecAugmentConfig

ARGMAX_BLOCK = 64  # units; 32 to 256 differ by less than a tenth in speed


@dataclass(frozen=True)
class CTCEncoderConfig:
    """Sizes of the CTC encoder; the defaults are the paper's 15.8 M (arXiv 2307.03917, section 4).

    Attributes:
        conv_channels: Channels of the two convolutions; 256 gives the paper's count.
        transformer: The layers after them.
        spec_augment: Masks drawn over the features in training.
    """

    conv_channels: int = 256
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)


def num_encoder_frames(num_frames: int) -> int:
    """Map feature frames T to encoder frames M: two convolutions of stride 2, each rounding up."""
    halved = (num_frames + 1) // 2
    return (halved + 1) // 2


class Conv2dSubsampling(nn.Module):
    """Two 3x3 convolutions of stride 2 and a linear layer: (B, T, F) -> (B, ceil(T / 4), D).

    Padding is 1 on each side, so 80 mel bins become 20 and the linear layer 5120 -> 512 for 256 channels, as the
    paper's count of 15.8 M demands. Frames past an utterance's end are set to zero before each convolution: the last
    valid frame sees the same zeros by itself and in a batch.
    """

    def __init__(self, feature_dim: int, channels: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.linear = nn.Linear(channels * num_encoder_frames(feature_dim), dim)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample four times in time.

        Args:
            speech: Normalised features (B, T, F).
            lengths: Valid frames (B,), int64.

        Returns:
            Vectors (B, M, D) and their lengths (B,).
        """
        hidden = speech[:, None]  # (B, 1, T, F)
        for conv in (self.conv1, self.conv2):
            hidden = hidden * length_mask(lengths, hidden.shape[2])[:, None, :, None].to(hidden.dtype)
            hidden = F.relu(conv(hidden))
            lengths = (lengths + 1) // 2
        batch, channels, frames, bins = hidden.shape
        return self.linear(hidden.transpose(1, 2).reshape(batch, frames, channels * bins)), lengths


class SpeechFront(nn.Module):
    """The first part of an encoder: normalised features, SpecAugment in training, subsampling.

    Args:
        feature_dim: Width F of the features.
        conv_channels: Channels of the two convolutions.
        dim: Width D.
        spec_augment: Masks drawn over the features in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, feature_dim: int, conv_channels: int, dim: int, spec_augment: SpecAugmentConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.spec_augment = SpecAugment(spec_augment)
        self.subsampling = Conv2dSubsampling(feature_dim, conv_channels, dim)

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Take the training data's mean and standard deviation of each feature (F,)."""
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise InputError(
                f"the statistics are of {tuple(mean.shape)} features, the network expects {tuple(self.mean.shape)}; "
                "compute them again from the features of this recipe"
            )
        self.mean.copy_(mean)
        self.std.copy_(std)

    def subsample(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F), any padding value, and their lengths (B,) to vectors (B, M, D) and theirs."""
        valid = length_mask(speech_lengths, speech.shape[1])
        speech = ((speech - self.mean) / self.std).masked_fill(~valid[:, :, None], 0.0)
        hidden, lengths = self.subsampling(self.spec_augment(speech, speech_lengths), speech_lengths)
        return hidden, lengths


class CTCEncoder(SpeechFront):
    """Feature normalisation, subsampling, Transformer and CTC head.

    Args:
        config: Sizes.
        num_units: CTC units C, blank included; 0 builds no head (E0's encoder never sees CTC).
        feature_dim: Width F of the features.
        feature_shift: Seconds from a feature frame to the next.

    Source: arXiv 2307.03917, sections 3.1 and 4.
    """

    def __init__(
        self,
        config: CTCEncoderConfig,
        num_units: int,
        feature_dim: int = NUM_MELS,
        feature_shift: float = FRAME_SHIFT,
    ) -> None:
        dim = config.transformer.dim
        super().__init__(feature_dim, config.conv_channels, dim, config.spec_augment)
        self.transformer = TransformerStack(config.transformer)
        self.head = nn.Linear(dim, num_units) if num_units else None
        self.frame_shift = SUBSAMPLING * feature_shift

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.subsampling.linear.out_features

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> Encoded:
        """Encode features.

        Args:
            speech: Features (B, T, F), any padding value.
            speech_lengths: Valid frames T (B,), int64, each at least 1.

        Returns:
            States, CTC logits (empty in the last dimension without a head) and lengths.
        """
        hidden, lengths = self.subsample(speech, speech_lengths)
        hidden = self.transformer(hidden, lengths)  # (B, M, D)
        logits = self.head(hidden) if self.head is not None else hidden[:, :, :0]
        return Encoded(hidden, logits, lengths)


def ctc_loss(encoded: Encoded, text: Tensor, text_lengths: Tensor) -> Tensor:
    """CTC loss, averaged over utterances.

    An utterance with too few frames for its labels contributes zero (the statistics stage leaves such utterances out).

    Args:
        encoded: The encoder's output.
        text: Units (B, L), int64, padding any value.
        text_lengths: Units per utterance (B,), int64.

    Returns:
        Negative log-likelihood in nats per utterance, a scalar.

    Source: Graves et al. 2006.
    """
    log_probs = encoded.logits.float().log_softmax(-1).transpose(0, 1)  # (M, B, C)
    loss = F.ctc_loss(
        log_probs, text.clamp(min=0), encoded.lengths, text_lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return loss / text.shape[0]


def best_units(logits: Tensor) -> Tensor:
    """Index of the best unit of each frame, the first of equals: `logits.argmax(-1)`, read once at memory speed.

    A maximum vectorises and an argmax does not. So the maxima of blocks select a block, and only that one is searched.
    With 5,000 units this takes a third of the time of argmax on a CPU, which would be most of the compressor's time.

    Args:
        logits: Scores (B, M, C).

    Returns:
        Units (B, M), int64.
    """
    num_units = logits.shape[-1]
    num_blocks = num_units // ARGMAX_BLOCK
    if num_blocks < 2:
        return logits.argmax(-1)
    blocks = logits[..., : num_blocks * ARGMAX_BLOCK].unflatten(-1, (num_blocks, ARGMAX_BLOCK))
    best, block = blocks.amax(-1).max(-1)  # (B, M)
    winner = blocks.gather(2, block[:, :, None, None].expand(-1, -1, 1, ARGMAX_BLOCK))[:, :, 0]
    unit = block * ARGMAX_BLOCK + winner.argmax(-1)
    if num_blocks * ARGMAX_BLOCK == num_units:
        return unit
    rest, index = logits[..., num_blocks * ARGMAX_BLOCK :].max(-1)
    return torch.where(rest > best, num_blocks * ARGMAX_BLOCK + index, unit)


def find_starts(labels: Tensor) -> Tensor:
    """Mark the frames (B, M) that begin a run of equal labels."""
    starts = torch.ones_like(labels, dtype=torch.bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    return starts


def greedy_units(encoded: Encoded) -> list[list[int]]:
    """Best unit per frame, repeats merged, blanks removed: the CTC hypothesis of each utterance."""
    best = best_units(encoded.logits)  # (B, M)
    kept = find_starts(best) & (best != BLANK) & length_mask(encoded.lengths, best.shape[1])
    return [row[keep].tolist() for row, keep in zip(best.cpu(), kept.cpu(), strict=True)]
