"""Components from outside the package: what a user might add to its registries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from speechllama.constants import SAMPLE_RATE
from speechllama.feature_shape import FeatureShape
from speechllama.frontend.front_ends import FrontEnd
from speechllama.model.audio import Compressed, Encoded
from speechllama.model.compressors import CompressorSettings
from speechllama.model.encoders import Encoder
from speechllama.report.resampling import score_segments, sign_segments
from speechllama.report.score import Pairs
from speechllama.text.targets import Target


@dataclass(frozen=True)
class EverySettings(CompressorSettings):
    """Settings of the compressor: keep one frame of `step`."""

    step: int = 8


class Every(nn.Module):
    """Keeps one frame of `step`."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, encoded: Encoded) -> Compressed:
        return Compressed(encoded.hidden[:, :: self.step], -(-encoded.lengths // self.step))


@dataclass(frozen=True)
class StackSettings:
    """Settings of the encoder: neighbouring frames to a state, and its width."""

    num_stacked: int = 8
    dim: int = 16


class Stack(nn.Module):
    """Joins neighbouring frames; normalises nothing."""

    def __init__(self, settings: StackSettings, num_units: int, features: FeatureShape) -> None:
        super().__init__()
        self.num_stacked, self.dim = settings.num_stacked, settings.dim
        self.frame_shift = settings.num_stacked * features.frame_shift
        self.linear = nn.Linear(settings.num_stacked * features.dim, self.dim)
        self.head = nn.Linear(self.dim, num_units)

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Nothing is normalised."""

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> Encoded:
        whole = speech[:, : speech.shape[1] // self.num_stacked * self.num_stacked]
        hidden = self.linear(whole.unflatten(1, (-1, self.num_stacked)).flatten(2))
        return Encoded(hidden, self.head(hidden), speech_lengths // self.num_stacked)


STACK = Encoder("stack", StackSettings, Stack, lambda num_frames, _: num_frames // StackSettings.num_stacked)


@dataclass(frozen=True)
class EnergySettings:
    """Settings of the front end: seconds of a frame."""

    seconds: float = 0.02


class Energy:
    """The energy of each frame, and nothing else."""

    dim = 1

    def __init__(self, settings: EnergySettings) -> None:
        self.frame_shift = settings.seconds

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        size = round(self.frame_shift * SAMPLE_RATE)
        frames = waveform[: len(waveform) // size * size].reshape(-1, size)
        energy: np.ndarray = np.square(frames).mean(1, keepdims=True).astype(np.float32)
        return energy


ENERGY = FrontEnd("energy", EnergySettings, Energy)


@dataclass(frozen=True)
class CaptionScore:
    """Captions that are right to the last character, in percent, and the mean of what a judge gave each."""

    exact: float
    signature: str
    num_utterances: int
    num_empty: int
    judge: float | None
    judge_low: float | None
    judge_high: float | None
    judge_signature: str | None


def score_captions(pairs: Pairs, target: Target, num_bootstrap: int = 1000) -> CaptionScore:
    """Count the captions that are right."""
    right = sum(map(str.__eq__, pairs.hypotheses, pairs.references))
    exact = 100 * right / len(pairs.utterances)
    judge, low, high = score_segments(pairs, "judge", num_bootstrap)
    signature = sign_segments(pairs, "judge", num_bootstrap)
    num_utterances = len(pairs.utterances)
    return CaptionScore(exact, "exact|case:mixed", num_utterances, pairs.num_empty, judge, low, high, signature)
