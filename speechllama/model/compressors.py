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

    from speechllama.model.audio_encoder import AudioEncoder, Ends
    from speechllama.model.config import SpeechLlamaConfig

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

    def cache_conf(self) -> dict[str, Any]:
        """Return the settings on which the compressor's output depends: all of them, unless a class says otherwise."""
        return dataclasses.asdict(self)

    def width(self, dim: int) -> int:
        """Count the numbers of a vector of the output, from the width D of the encoder's states."""
        return dim


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

    def width(self, dim: int) -> int:
        """Count the numbers of a vector: a unit is one."""
        return 1


@dataclass(frozen=True)
class PosteriorSettings(RunSettings):
    """Settings of `posteriors`.

    Attributes:
        num_best: Units K kept of a run, the most probable ones; of fewer CTC units, all.
        keep_states: Keep the mean of the encoder's states too; an audio encoder through a gate adds what it makes of
            them.
        temperature: Of the posteriors, before training changes it: below 1, the LLM hears less of the second best.
            Caches of several temperatures are the same.
    """

    num_best: int = 32
    keep_states: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_best < 1:
            raise InputError(f"num_best is {self.num_best}: the compressor posteriors keeps at least 1 unit")
        if not self.temperature > 0:
            raise InputError(f"temperature {self.temperature} must be above 0")

    def label(self) -> str:
        """Return what the settings add to the name of a directory."""
        return f"{self.num_best}" + ("_states" if self.keep_states else "") + super().label()

    def cache_conf(self) -> dict[str, Any]:
        """Return the settings on which the output depends; the temperature comes after it."""
        conf = super().cache_conf()
        del conf["temperature"]
        return conf

    def width(self, dim: int) -> int:
        """Count the numbers of a vector: units, their probabilities and, if kept, a state."""
        return 2 * self.num_best + (dim if self.keep_states else 0)


def _build_audio_encoder(config: SpeechLlamaConfig, ends: Ends) -> AudioEncoder:
    from speechllama.model.audio_encoder import AudioEncoder

    return AudioEncoder(config.audio_encoder, ends.dim, ends.llm_dim, ends.embedding_std)


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
        learned_file: File with what must be learned before anything is compressed; "" if nothing.
        build_audio_encoder: Settings of the network and what it lies between -> module that maps this output, with its
            lengths, into the LLM: the audio encoder, or what is in its place.
    """

    name: str
    settings: type[CompressorSettings]
    build: Callable[[Any, int], nn.Module]
    needs: Needs
    is_cached: bool
    frames_per_vector: int | None = None
    learned_file: str = ""
    build_audio_encoder: Callable[[SpeechLlamaConfig, Ends], nn.Module] = _build_audio_encoder

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


def _build_unit_embedding(config: SpeechLlamaConfig, ends: Ends) -> nn.Module:
    from speechllama.model.units import UnitEmbedding

    return UnitEmbedding(config.compressor.settings.num_clusters, ends.llm_dim, ends.embedding_std)


def _build_posteriors(settings: PosteriorSettings, dim: int) -> nn.Module:
    from speechllama.model.posteriors import PosteriorCompressor

    return PosteriorCompressor(settings)


def _build_posterior_embedding(config: SpeechLlamaConfig, ends: Ends) -> nn.Module:
    from speechllama.model.posteriors import PosteriorEmbedding

    settings: PosteriorSettings = config.compressor.settings
    return PosteriorEmbedding(settings, ends, _build_audio_encoder(config, ends) if settings.keep_states else None)


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
            learned_file="centroids.npz",
            build_audio_encoder=_build_unit_embedding,
        ),
        Compressor(
            "posteriors",
            PosteriorSettings,
            _build_posteriors,
            "ctc_labels",
            is_cached=True,
            build_audio_encoder=_build_posterior_embedding,
        ),
        Compressor("convolution", CompressorSettings, _build_convolution, "nothing", False, CONVOLUTION_RATIO),
        Compressor("none", CompressorSettings, _build_none, "nothing", False, 1),
    ],
)
DEFAULT_COMPRESSOR = "frame_average"
