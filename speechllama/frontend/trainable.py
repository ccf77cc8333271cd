"""A front end as a part of the network: what it must offer for that, and what stage features then writes.

waveform (S,) -> the same (S, 1) on disk -> features (T, F) as a tensor, in the network
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.frontend.front_ends import PretrainedExtractor

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@runtime_checkable
class TrainableExtractor(PretrainedExtractor, Protocol):
    """A front end that can be a part of the network: its settings have `train` and `lora`, as those of `hf`."""

    device: str  # where `states` computes

    @property
    def encoder(self) -> nn.Module:
        """Its weights: a model of transformers."""

    @property
    def fixed_parts(self) -> list[nn.Module]:
        """What of the weights stays frozen even if all of them train."""

    def measure(self) -> None:
        """Find out what it must know of its weights, before they train."""

    def num_frames(self, num_samples: int) -> int:
        """Count the features T of a waveform, less than 1 where it is too short."""

    def states(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Compute features (T, F) of several waveforms as `many` does, on the device, with gradients where enabled."""


class Waveform:
    """Waveforms as they are, for a front end that trains: the network makes features of them.

    Args:
        num_frames: Samples S -> frames T that the network will make of them, if that is to be checked here.
    """

    dim, frame_shift = 1, 1 / SAMPLE_RATE
    storage = "int16"  # on disk, see ark_writer

    def __init__(self, num_frames: Callable[[int], int] = int) -> None:
        self.num_frames = num_frames

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Make a matrix (S, 1) of a waveform (S,).

        Raises:
            ValueError: It is not one-dimensional, or too short for a frame.
        """
        if waveform.ndim != 1:
            raise InputError(f"a waveform of shape {waveform.shape}, expected one channel (S,)")
        if self.num_frames(len(waveform)) < 1:
            found = f"{len(waveform) / SAMPLE_RATE:.4f} s of audio, {len(waveform):,} samples"
            raise InputError(f"{found}, is too short for a frame of the front end")
        return waveform[:, None]
