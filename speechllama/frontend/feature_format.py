"""What features are: the front end that wrote them, their width and shift, as frontend.json and config.yaml record it.

FrontEnd, its settings -> FeatureFormat <-> dump/<set>/frontend.json, config.yaml of an experiment
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.config import from_mapping
from speechllama.constants import DEFAULT_FRONT_END, FRAME_SHIFT, NUM_MELS
from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape
from speechllama.files import read_json, write_json
from speechllama.frontend.front_ends import FeatureExtractor, FrontEnd, PretrainedExtractor, choose_front_end, trains
from speechllama.registry import Choice

FORMAT_FILE = "frontend.json"


@dataclass(frozen=True)
class FeatureFormat:
    """What features are, as frontend.json and config.yaml record it; the defaults are those of the paper.

    Of a front end that trains, the features are those that the network makes of the waveforms on disk.

    Attributes:
        frontend: The front end that wrote them.
        frontend_conf: All of its settings.
        feature_dim: Width F.
        frame_shift: Seconds from a frame to the next.
        num_layers: Layers of an encoder that lie side by side in F.
        weights: Fingerprint of the weights that computed them, in hexadecimal digits; "" if there are none.
    """

    frontend: str = DEFAULT_FRONT_END
    frontend_conf: dict[str, Any] = field(default_factory=dict)
    feature_dim: int = NUM_MELS
    frame_shift: float = FRAME_SHIFT
    num_layers: int = 1
    weights: str = ""

    @property
    def shape(self) -> FeatureShape:
        """What a network must know of them."""
        return FeatureShape(self.feature_dim, self.frame_shift, self.num_layers)

    @property
    def is_trained(self) -> bool:
        """Whether the front end trains, so that feats.scp has waveforms."""
        return trains(self.frontend_conf)

    def build_reader(self) -> FeatureExtractor:
        """Build what turns a recording into what the network reads; errors as of `build`."""
        from speechllama.frontend.trainable import Waveform

        return Waveform() if self.is_trained else self.build()

    def build(self) -> FeatureExtractor:
        """Build the front end.

        Raises:
            ValueError: There is no such front end, it has no such setting, or its weights are no longer the same.
        """
        extractor: FeatureExtractor = choose_front_end(self.frontend, self.frontend_conf).build()
        if self.weights and isinstance(extractor, PretrainedExtractor) and extractor.weights != self.weights:
            raise InputError(
                f"{self.frontend_conf.get('path')}: other weights than those of the features that the model learned "
                "from; give the encoder that was used, or train on the features of this one"
            )
        return extractor


def describe_features(choice: Choice[FrontEnd], extractor: FeatureExtractor) -> FeatureFormat:
    """Say what a front end writes."""
    layers = int(getattr(extractor, "num_layers", 1))
    weights = extractor.weights if isinstance(extractor, PretrainedExtractor) else ""
    return FeatureFormat(choice.record.name, choice.conf(), extractor.dim, extractor.frame_shift, layers, weights)


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
