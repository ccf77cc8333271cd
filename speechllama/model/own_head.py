"""The encoder `own_head`: states of a pre-trained speech encoder as they are, and the CTC head that came with it.

states (B, T, H) -> the same, CTC logits (B, T, C)

Its weights are taken from the checkpoint, see train/own_head.py. Nothing of it trains.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape
from speechllama.model.audio import Encoded


@dataclass(frozen=True)
class OwnHeadConfig:
    """Settings of `own_head`: none, since the checkpoint decides everything."""


class OwnHead(nn.Module):
    """States as they are, and a linear CTC head.

    Args:
        config: Nothing.
        num_units: CTC units C, blank included.
        features: Shape of the features, which are the states.

    Raises:
        ValueError: It should be built without a CTC head, or the features are several layers.
    """

    def __init__(self, config: OwnHeadConfig, num_units: int, features: FeatureShape) -> None:
        super().__init__()
        if not num_units:
            raise InputError(
                "the encoder own_head has nothing to train: it is for freeze_encoder: true, with a front end whose "
                "checkpoint has a CTC head (ctc_head: true)"
            )
        if features.num_layers != 1:
            raise InputError(
                f"the features are {features.num_layers} layers, but a CTC head reads the last states only"
            )
        self.dim, self.frame_shift = features.dim, features.frame_shift
        self.head = nn.Linear(features.dim, num_units).requires_grad_(False)

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Nothing is normalised: the head reads the states as they are."""

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> Encoded:
        """Label states.

        Args:
            speech: States (B, T, H), any padding value.
            speech_lengths: Valid states T (B,), int64, each at least 1.

        Returns:
            States, CTC logits and lengths.
        """
        return Encoded(speech, self.head(speech), speech_lengths)


def keep_frames(num_frames: int, frame_shift: float) -> int:
    """Frames of its output: as many as states."""
    return num_frames
