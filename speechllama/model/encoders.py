"""The encoders: from features to states; to add one, add a record to ENCODERS.

encoder: transformer               ENCODERS["transformer"] -> settings class, builder, length of its output
encoder_conf: {conv_channels: 64}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from speechllama.constants import DEFAULT_ENCODER, OWN_HEAD
from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape, num_encoder_frames
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.own_head import OwnHead, OwnHeadConfig, keep_frames
from speechllama.registry import Choice, Registry, choose


class TrainableEncoder(Protocol):
    """What an encoder needs to be trained, in addition to `SpeechEncoder`: it takes the statistics of its features."""

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Take the training data's mean and standard deviation of each feature (F,)."""


@dataclass(frozen=True)
class Encoder:
    """An encoder: its settings, its builder, the length of its output.

    Attributes:
        name: Its name in a YAML, `encoder: NAME`.
        settings: Dataclass of `encoder_conf`.
        build: Settings, CTC units C (0: no CTC head), shape of the features -> a torch module that is a
            `SpeechEncoder` and a `TrainableEncoder`.
        num_frames: Feature frames T, their shift in seconds -> frames M of its output, as the data stages count them
            before it is built.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any, int, FeatureShape], nn.Module]
    num_frames: Callable[[int, float], int]


ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    [
        Encoder(DEFAULT_ENCODER, CTCEncoderConfig, CTCEncoder, num_encoder_frames),
        Encoder(OWN_HEAD, OwnHeadConfig, OwnHead, keep_frames),
    ],
)


def choose_encoder(settings: Mapping[str, Any], where: str) -> Choice[Encoder]:
    """Read `encoder` and `encoder_conf` out of an experiment's settings.

    Raises:
        ValueError: There is no such encoder, or it has no such setting.
    """
    name = settings.get("encoder") or DEFAULT_ENCODER
    try:
        _ = ENCODERS[name]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return choose(ENCODERS, name, settings.get("encoder_conf") or {}, f"{where}: encoder_conf")
