"""The registry of front ends: what frontend.json records, and one from outside the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from speechllama.bin import make_features
from speechllama.constants import SAMPLE_RATE
from speechllama.data.ark import read_matrix
from speechllama.data.front_ends import (
    FRONT_ENDS,
    FeatureFormat,
    FrontEnd,
    read_format,
    recorded_format,
    write_format,
)
from speechllama.files import read_table


@dataclass(frozen=True)
class EnergySettings:
    """Settings of the toy: seconds of a frame."""

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


@pytest.fixture
def energy() -> Iterator[FrontEnd]:
    """A front end from outside the package, for the time of a test."""
    yield FRONT_ENDS.add(FrontEnd("energy", EnergySettings, Energy))
    FRONT_ENDS.remove("energy")


def test_a_front_end_from_outside_needs_one_record(
    energy: FrontEnd, make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "dump"
    options = ["--frontend", "energy", "--frontend_conf", '{"seconds": 0.04}']
    make_features.main(["--data_dir", str(make_data_dir("train")), "--output_dir", str(output), *options])
    for place in read_table(output / "feats.1.scp").values():
        assert read_matrix(place).shape[1] == 1
    assert read_format(output) == FeatureFormat("energy", {"seconds": 0.04}, 1, 0.04)
    assert read_format(output).build().frame_shift == 0.04


def test_features_without_a_record_are_log_mel_energies_of_10_ms(tmp_path: Path) -> None:
    features = read_format(tmp_path)
    assert features == FeatureFormat() == FeatureFormat("fbank", {}, 80, 0.01)
    extractor = features.build()
    assert (extractor.dim, extractor.frame_shift) == (80, 0.01)
    assert recorded_format({"frontend": None, "frontend_conf": {}, "max_epoch": 3}, "config.yaml") == features


def test_a_wrong_record_is_refused(tmp_path: Path) -> None:
    write_format(tmp_path, FeatureFormat("fbnak"))
    with pytest.raises(ValueError, match="unknown front end 'fbnak', expected one of fbank; did you mean 'fbank'"):
        read_format(tmp_path).build()
    (tmp_path / "frontend.json").write_text('{"width": 80}')
    with pytest.raises(ValueError, match="frontend.json: unknown key 'width'"):
        read_format(tmp_path)
