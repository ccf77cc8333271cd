"""The shape of features: what a network must know of the front end that wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from speechllama.constants import FRAME_SHIFT, NUM_MELS, SUBSAMPLING

ENCODER_SHIFT = SUBSAMPLING * FRAME_SHIFT  # seconds from an encoder frame to the next, with features of any front end


class FeatureShape(NamedTuple):
    """Width, shift and layers of features (T, F); the defaults are the paper's.

    Attributes:
        dim: Width F, of all layers together.
        frame_shift: Seconds from a frame to the next.
        num_layers: Layers of a speech encoder that lie side by side in F, of which a network learns a weighted sum.
    """

    dim: int = NUM_MELS
    frame_shift: float = FRAME_SHIFT
    num_layers: int = 1

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> FeatureShape:
        """Read the shape that an experiment's settings record; what is absent or empty is the default."""
        return cls(
            int(settings.get("feature_dim") or NUM_MELS),
            float(settings.get("frame_shift") or FRAME_SHIFT),
            int(settings.get("num_layers") or 1),
        )

    def log_mel_frames(self, num_frames: int) -> int:
        """Count the frames that log-mel features of as much speech have.

        Batches are made by these numbers, so that one `batch_bins` means as much speech with every front end.
        """
        return max(1, round(num_frames * self.frame_shift / FRAME_SHIFT))


def frames_to_stack(frame_shift: float) -> int:
    """Count the feature frames that make an encoder frame of at most 40 ms; 0 where two convolutions make it.

    Convolutions over time and frequency are for spectra, whose frames are 10 ms apart or less. The states of a
    pre-trained encoder are further apart and have no neighbouring frequencies: they are put side by side.
    """
    stacked = round(ENCODER_SHIFT / frame_shift)
    return 0 if stacked >= SUBSAMPLING else max(1, stacked)


def num_encoder_frames(num_frames: int, frame_shift: float = FRAME_SHIFT) -> int:
    """Map feature frames T to encoder frames M.

    Args:
        num_frames: T.
        frame_shift: Seconds from a feature frame to the next.

    Returns:
        M: T is halved twice, each time rounding up, or divided by `frames_to_stack`, rounding up.
    """
    stacked = frames_to_stack(frame_shift)
    if stacked:
        return -(-num_frames // stacked)
    halved = (num_frames + 1) // 2
    return (halved + 1) // 2
