"""The front ends: what turns a recording into features; to add one, add a record to FRONT_ENDS.

    --frontend fbank --frontend_conf '{num_mel_bins: 80}'     FRONT_ENDS["fbank"] -> settings class, builder
    waveform (S,) -> features (T, F)                          dump/<set>/frontend.json: what wrote them, F, their shift

Code that reads features takes their width and shift from frontend.json, or from the config.yaml that recorded it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speechllama.config import from_mapping
from speechllama.constants import DEFAULT_FRONT_END, FRAME_SHIFT, NUM_MELS
from speechllama.files import read_json, write_json
from speechllama.registry import Choice, Registry, choose

FORMAT_FILE = "frontend.json"


class FeatureExtractor(Protocol):
    """What a front end builds."""

    @property
    def dim(self) -> int:
        """Width F of its features."""

    @property
    def frame_shift(self) -> float:
        """Seconds from a feature frame to the next."""

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute features.

        Args:
            waveform: Samples (S,) at 16 kHz, within about +-1.

        Returns:
            Features (T, F), float32.

        Raises:
            ValueError: The waveform is not one-dimensional, or too short for a frame.
        """


@dataclass(frozen=True)
class FrontEnd:
    """What there is to know of a front end.

    Attributes:
        name: What `--frontend` says.
        settings: Dataclass of `--frontend_conf`.
        build: Settings -> a `FeatureExtractor`.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any], FeatureExtractor]


@dataclass(frozen=True)
class FbankSettings:
    """Settings of `fbank`, log-mel energies as Kaldi computes them.

    Attributes:
        num_mel_bins: F.
        frame_length_ms: Window, in milliseconds.
        frame_shift_ms: Step, in milliseconds.
    """

    num_mel_bins: int = NUM_MELS
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 1000 * FRAME_SHIFT


def _build_fbank(settings: FbankSettings) -> FeatureExtractor:
    from speechllama.data.fbank import Fbank

    return Fbank(settings)


FRONT_ENDS: Registry[FrontEnd] = Registry("front end", [FrontEnd(DEFAULT_FRONT_END, FbankSettings, _build_fbank)])


@dataclass(frozen=True)
class FeatureFormat:
    """What features are, as frontend.json and config.yaml record it; the defaults are those of the paper.

    Attributes:
        frontend: The front end that wrote them.
        frontend_conf: All of its settings.
        feature_dim: Width F.
        frame_shift: Seconds from a frame to the next.
    """

    frontend: str = DEFAULT_FRONT_END
    frontend_conf: dict[str, Any] = field(default_factory=dict)
    feature_dim: int = NUM_MELS
    frame_shift: float = FRAME_SHIFT

    def build(self) -> FeatureExtractor:
        """Build the front end.

        Raises:
            ValueError: There is no such front end, or it has no such setting.
        """
        extractor: FeatureExtractor = choose_front_end(self.frontend, self.frontend_conf).build()
        return extractor


def choose_front_end(name: str, conf: Mapping[str, Any]) -> Choice[FrontEnd]:
    """Look a front end up and read its settings.

    Raises:
        ValueError: There is no such front end, or it has no such setting.
    """
    return choose(FRONT_ENDS, name, conf, "frontend_conf")


def describe_features(choice: Choice[FrontEnd], extractor: FeatureExtractor) -> FeatureFormat:
    """Say what a front end writes."""
    return FeatureFormat(choice.record.name, choice.conf(), extractor.dim, extractor.frame_shift)


def write_format(data_dir: str | Path, features: FeatureFormat) -> None:
    """Write frontend.json of a data directory with features."""
    write_json(Path(data_dir) / FORMAT_FILE, dataclasses.asdict(features))


def read_format(data_dir: str | Path) -> FeatureFormat:
    """Read frontend.json; without one (features of before there was a choice) the defaults hold.

    Raises:
        ValueError: It says something that is no format of features.
    """
    path = Path(data_dir) / FORMAT_FILE
    return from_mapping(FeatureFormat, read_json(path), str(path)) if path.is_file() else FeatureFormat()


def recorded_format(settings: Mapping[str, Any], where: str) -> FeatureFormat:
    """Read what an experiment's settings say of its features; keys that are absent or empty keep their default."""
    names = [entry.name for entry in dataclasses.fields(FeatureFormat)]
    return from_mapping(FeatureFormat, {name: settings[name] for name in names if settings.get(name)}, where)
