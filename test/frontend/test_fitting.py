"""Whether features are those that a network learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.faults import InputError
from speechllama.frontend.feature_format import FeatureFormat, write_format
from speechllama.frontend.fitting import check_features


def hf(weights: str = "ab", width: int = 32, **conf: Any) -> FeatureFormat:
    return FeatureFormat("hf", {"path": "here", "layers": [1, 2], **conf}, width, 0.02, 2, weights)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (hf(), hf(path="moved", storage="int16", dtype="bfloat16", window=20.0)),
        (hf(weights=""), hf()),  # of before weights were recorded
        (FeatureFormat(), FeatureFormat(frontend_conf={"num_mel_bins": 80})),
    ],
)
def test_the_same_features_are_taken(tmp_path: Path, here: FeatureFormat, there: FeatureFormat) -> None:
    write_format(tmp_path, here)
    check_features(tmp_path, there, "exp/ctc")


def test_features_of_before_there_was_a_record_are_log_mel_ones(tmp_path: Path) -> None:
    check_features(tmp_path, FeatureFormat(), "exp/ctc")
    with pytest.raises(InputError, match="frontend: 'fbank', expected 'hf'"):
        check_features(tmp_path, hf(), "exp/ctc")


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (hf("cd"), "weights: 'cd', expected 'ab'"),
        (hf(layers=[1, 3]), r"layers: \(1, 3\), expected \(1, 2\)|layers: \[1, 3\], expected \[1, 2\]"),
        (hf(width=16), "feature_dim: 16, expected 32"),
        (hf(train="lora"), "train: 'lora', expected 'frozen'"),
    ],
)
def test_other_features_are_refused(tmp_path: Path, here: FeatureFormat, message: str) -> None:
    write_format(tmp_path, here)
    with pytest.raises(InputError, match=message) as caught:
        check_features(tmp_path, hf(), "exp/ctc")
    assert str(caught.value).startswith(f"{tmp_path}: features of another kind than those that exp/ctc learned from")
