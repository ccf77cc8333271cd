"""The compressors: what shortens the encoder's output; to add one, add a record to COMPRESSORS.

    compressor: units                     COMPRESSORS["units"] -> settings class, builder, what it needs
    compressor_conf: {num_clusters: 500}

Nothing heavy is imported here, since the plan of a run reads these records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from speechllama.faults import InputError
from speechllama.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Needs = Literal["ctc_labels", "encoder_states", "nothing"]
CONVOLUTION_RATIO = 8  # three convolutions of stride 2


@dataclass(frozen=True)
class CompressorSettings:
    """Settings of a compressor that has none; others extend this class."""

    def label(self) -> str:
        """Return what the settings add to the name of a directory: "" for the defaults."""
        changed = [
            f"_{field.name}{getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return "".join(changed)


@dataclass(frozen=True)
class RunSettings(CompressorSettings):
    """Settings of `blank_removal`, and of all that average runs of frames.

    Attributes:
        max_compressed_length: Longest output in vectors; neighbouring runs are merged evenly beyond it. None: no limit.
    """

    max_compressed_length: int | None = None

    def __post_init__(self) -> None:
        if self.max_compressed_length is not None and self.max_compressed_length < 1:
            raise InputError(f"max_compressed_length {self.max_compressed_length} must be at least 1, or null")

    def label(self) -> str:
        """Return what the settings add to the name of a directory."""
        return "" if self.max_compressed_length is None else f"_max{self.max_compressed_length}"


@dataclass(frozen=True)
class FrameAverageSettings(RunSettings):
    """Settings of `frame_average`.

    Attributes:
        drop_blank_runs: Leave out the runs of blanks.
    """

    drop_blank_runs: bool = False

    def label(self) -> str:
        """Return what the settings add to the name of a directory."""
        return ("_no_blanks" if self.drop_blank_runs else "") + super().label()


@dataclass(frozen=True)
class UnitSettings(CompressorSettings):
    """Settings of `units`.

    Attributes:
        num_clusters: Centroids K.
    """

    num_clusters: int = 0

    def __post_init__(self) -> None:
        if self.num_clusters < 1:
            raise InputError(f"num_clusters is {self.num_clusters}: the compressor units needs at least 1")

    def label(self) -> str:
        """Return what the settings add to the name of a directory."""
        return str(self.num_clusters)


@dataclass(frozen=True)
class Compressor:
    """A compressor: its settings, its builder, what it needs.

    Attributes:
        name: Its name in a YAML, `compressor: NAME`.
        settings: Dataclass of `compressor_conf`.
        build: Settings and width D of the encoder's states -> module that maps `Encoded` to `Compressed`.
        needs: What it needs of a trained, frozen encoder: the best units of its CTC head (`ctc_labels`), only its
            states (`encoder_states`), or nothing, in which case the encoder may be untrained.
        is_cached: Whether the compress stage can write its output once, for all epochs.
        frames_per_vector: Encoder frames to a vector, if that number is fixed; None if it depends on the speech, with
            at most one vector for each frame.
        output: `vectors` (B, U, D), which the audio encoder maps; or `units` (B, U), integers that have
            embeddings.
        learned_file: File with what must be learned before anything is compressed; "" if nothing.
    """

    name: str
    settings: type[CompressorSettings]
    build: Callable[[Any, int], nn.Module]
    needs: Needs
    is_cached: bool
    frames_per_vector: int | None = None
    output: Literal["vectors", "units"] = "vectors"
    learned_file: str = ""

    @property
    def needs_trained_encoder(self) -> bool:
        """Whether it works only on a trained encoder."""
        return self.needs != "nothing"


def _build_blank_removal(settings: RunSettings, dim: int) -> nn.Module:
    from speechllama.model.compressor import BlankRemoval

    return BlankRemoval(settings.max_compressed_length)


def _build_frame_average(settings: FrameAverageSettings, dim: int) -> nn.Module:
    from speechllama.model.compressor import FrameAverage

    return FrameAverage(settings.drop_blank_runs, settings.max_compressed_length)


def _build_units(settings: UnitSettings, dim: int) -> nn.Module:
    from speechllama.model.compressor import UnitCompressor

    return UnitCompressor(settings.num_clusters, dim)


def _build_convolution(settings: CompressorSettings, dim: int) -> nn.Module:
    from speechllama.model.compressor import ConvolutionCompressor

    return ConvolutionCompressor(dim)


def _build_none(settings: CompressorSettings, dim: int) -> nn.Module:
    from speechllama.model.compressor import NoCompressor

    return NoCompressor()


COMPRESSORS: Registry[Compressor] = Registry(
    "compressor",
    [
        Compressor("blank_removal", RunSettings, _build_blank_removal, "ctc_labels", is_cached=True),
        Compressor("frame_average", FrameAverageSettings, _build_frame_average, "ctc_labels", is_cached=True),
        Compressor(
            "units",
            UnitSettings,
            _build_units,
            "encoder_states",
            is_cached=True,
            output="units",
            learned_file="centroids.npz",
        ),
        Compressor("convolution", CompressorSettings, _build_convolution, "nothing", False, CONVOLUTION_RATIO),
        Compressor("none", CompressorSettings, _build_none, "nothing", False, 1),
    ],
)
DEFAULT_COMPRESSOR = "frame_average"
