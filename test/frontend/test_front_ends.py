"""The registry of front ends: what frontend.json records, and one from outside the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin import make_features
from speechllama.data.ark import read_matrix
from speechllama.files import read_table
from speechllama.frontend.feature_format import FeatureFormat, read_format, recorded_format, write_format
from speechllama.frontend.front_ends import FRONT_ENDS, FrontEnd
from test.toys import ENERGY


def test_a_front_end_from_outside_needs_one_record(
    add: Callable[..., FrontEnd], make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    add(FRONT_ENDS, ENERGY)
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
    with pytest.raises(
        ValueError, match="unknown front end 'fbnak', expected one of fbank, hf, given; did you mean 'fbank'"
    ):
        read_format(tmp_path).build()
    (tmp_path / "frontend.json").write_text('{"width": 80}')
    with pytest.raises(ValueError, match="frontend.json: unknown key 'width'"):
        read_format(tmp_path)
