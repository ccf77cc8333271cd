"""CTC encoder: from features to states and CTC logits. Trained on transcripts with CTC, then frozen.

features (B, T, F) -> normalised, subsampled (B, M, D) -> Transformer (B, M, D) -> CTC logits (B, M, C)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import BLANK
from speechllama.feature_shape import FeatureShape
from speechllama.model.audio import Encoded
from speechllama.model.layers import TransformerConfig, TransformerStack, length_mask
from speechllama.model.spec_augment import SpecAugmentConfig
from speechllama.model.subsampling import SpeechFront

ARGMAX_BLOCK = 64  # units; 32 to 256 differ by less than a tenth in speed


@dataclass(frozen=True)
class CTCEncoderConfig:
    """Sizes of the CTC encoder; the defaults are the paper's 15.8 M (arXiv 2307.03917, section 4).

    Attributes:
        conv_channels: Channels of the two convolutions over log-mel features; 256 gives the paper's count. Features
            of a pre-trained encoder have none, see `SpeechFront`.
        transformer: The layers after them.
        spec_augment: Masks drawn over the features in training.
    """

    conv_channels: int = 256
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)


class CTCEncoder(SpeechFront):
    """Feature normalisation, subsampling, Transformer and CTC head.

    Args:
        config: Sizes.
        num_units: CTC units C, blank included; 0 builds no head (E0's encoder never sees CTC).
        features: Shape of the features.

    Source: arXiv 2307.03917, sections 3.1 and 4.
    """

    def __init__(self, config: CTCEncoderConfig, num_units: int, features: FeatureShape | None = None) -> None:
        dim = config.transformer.dim
        super().__init__(features or FeatureShape(), config.conv_channels, dim, config.spec_augment)
        self.dim = dim
        self.transformer = TransformerStack(config.transformer)
        self.head = nn.Linear(dim, num_units) if num_units else None

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
