"""The first part of every encoder: features of any front end to vectors every 40 ms.

features (B, T, F) -> weighted sum of layers -> normalised -> SpecAugment -> conv2d 4x, or frames side by side (B, M, D)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import SUBSAMPLING
from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape, frames_to_stack, num_encoder_frames
from speechllama.model.layers import length_mask
from speechllama.model.spec_augment import SpecAugment, SpecAugmentConfig


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


class FrameStacking(nn.Module):
    """Neighbouring frames side by side and a linear layer: (B, T, F) -> (B, ceil(T / n), D).

    Frames past an utterance's end must be zero, as in the last group of the utterance by itself.

    Args:
        feature_dim: Width F.
        num_frames: Frames n to a vector.
        dim: Width D.
    """

    def __init__(self, feature_dim: int, num_frames: int, dim: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.linear = nn.Linear(num_frames * feature_dim, dim)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Stack.

        Args:
            speech: Normalised features (B, T, F), zero where padded.
            lengths: Valid frames (B,), int64.

        Returns:
            Vectors (B, M, D) and their lengths (B,).
        """
        size = self.num_frames
        speech = F.pad(speech, (0, 0, 0, -speech.shape[1] % size))
        return self.linear(speech.unflatten(1, (-1, size)).flatten(2)), (lengths + size - 1) // size


class SpeechFront(nn.Module):
    """Weighted sum of layers, normalisation, SpecAugment in training, subsampling.

    Log-mel features, 10 ms apart, go through two convolutions. The states of a pre-trained encoder, which are further
    apart and of which neighbours in the width have nothing to do with each other, are put side by side: see
    `frames_to_stack`. Where the features are several layers of such an encoder, the sum of these, with weights
    that start equal and train, takes their place.

    Args:
        features: Shape of the features.
        conv_channels: Channels of the two convolutions.
        dim: Width D.
        spec_augment: Masks drawn over the features in training.

    Source: the convolutions arXiv 2307.03917, section 4; the weighted sum Yang et al. 2021 (arXiv 2105.01051, section
    2.2); the stacking ours.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: FeatureShape, conv_channels: int, dim: int, spec_augment: SpecAugmentConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features.dim))
        self.register_buffer("std", torch.ones(features.dim))
        self.spec_augment = SpecAugment(spec_augment)
        if features.num_layers > 1:
            self.layer_weights = nn.Parameter(torch.zeros(features.num_layers))
        width, stacked = features.dim // features.num_layers, frames_to_stack(features.frame_shift)
        self.subsampling: Conv2dSubsampling | FrameStacking
        if stacked:
            self.subsampling = FrameStacking(width, stacked, dim)
        else:
            self.subsampling = Conv2dSubsampling(width, conv_channels, dim)
        self.frame_shift = (stacked or SUBSAMPLING) * features.frame_shift

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
        """Features (B, T, F), any padding value, and their lengths (B,) to vectors (B, M, D) and theirs.

        Raises:
            ValueError: The features are of another width.
        """
        if speech.shape[2] != len(self.mean):  # those of width 1, waveforms, would pass through the normalisation
            raise InputError(
                f"features of width {speech.shape[2]}, the network expects {len(self.mean)}; give it those of its own "
                "front end (stage features)"
            )
        valid = length_mask(speech_lengths, speech.shape[1])
        speech = ((speech - self.mean) / self.std).masked_fill(~valid[:, :, None], 0.0)
        if "layer_weights" in self._parameters:
            layers = speech.unflatten(2, (len(self.layer_weights), -1))  # (B, T, layers, F / layers)
            speech = torch.einsum("btlf,l->btf", layers, self.layer_weights.softmax(0))
        hidden, lengths = self.subsampling(self.spec_augment(speech, speech_lengths), speech_lengths)
        return hidden, lengths
