"""SpecAugment: bands of frequency and stretches of time set to the mean, in training only.

normalised log-mel (B, T, F) -> the same with masks
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.model.layers import length_mask

MOST_MASKS = 1000  # drawn one after the other, so a misprint would take for ever


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Settings of the masks.

    Attributes:
        num_freq_masks: Bands per utterance.
        freq_width: Widest band in mel bins.
        num_time_masks: Stretches per utterance.
        time_ratio: Widest stretch as a share of the utterance's frames, 0 to 1.
    """

    num_freq_masks: int = 2
    freq_width: int = 27
    num_time_masks: int = 2
    time_ratio: float = 0.05

    def __post_init__(self) -> None:
        for name in ("num_freq_masks", "num_time_masks"):
            if not 0 <= getattr(self, name) <= MOST_MASKS:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 to {MOST_MASKS}")
        if self.freq_width < 0 or not 0 <= self.time_ratio <= 1:
            raise InputError(f"freq_width {self.freq_width} and time_ratio {self.time_ratio}: expected bins and 0 to 1")


class SpecAugment(nn.Module):
    """Masks drawn per utterance, relative to its own length, so that padding changes nothing.

    Source: Park et al. 2019 (arXiv 1904.08779), without time warping; widths relative to length after Park et al.
    2020 (arXiv 1912.05533).
    """

    def __init__(self, config: SpecAugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, speech: Tensor, lengths: Tensor) -> Tensor:
        """Mask the features in training; return them as they are in evaluation.

        Args:
            speech: Normalised features (B, T, F); zero is the mean.
            lengths: Valid frames (B,), int64.

        Returns:
            Masked features (B, T, F).
        """
        if not self.training:
            return speech
        config, (batch, frames, bins) = self.config, speech.shape
        hidden_bins = torch.zeros(batch, bins, dtype=torch.bool, device=speech.device)
        for _ in range(config.num_freq_masks):
            width = torch.full((batch,), min(config.freq_width, bins), device=speech.device)
            hidden_bins |= _draw_span(width, torch.full_like(width, bins), bins)
        hidden_frames = torch.zeros(batch, frames, dtype=torch.bool, device=speech.device)
        for _ in range(config.num_time_masks):
            hidden_frames |= _draw_span((lengths * config.time_ratio).long(), lengths, frames)
        hidden_frames &= length_mask(lengths, frames)
        return speech.masked_fill(hidden_bins[:, None, :] | hidden_frames[:, :, None], 0.0)


def _draw_span(max_width: Tensor, total: Tensor, size: int) -> Tensor:
    """A random span per row: width 0..max_width, anywhere in 0..total; True inside (B, size)."""
    width = (torch.rand_like(max_width, dtype=torch.float32) * (max_width + 1)).long()
    start = (torch.rand_like(max_width, dtype=torch.float32) * (total - width + 1)).long()
    index = torch.arange(size, device=max_width.device)[None, :]
    return (index >= start[:, None]) & (index < (start + width)[:, None])
