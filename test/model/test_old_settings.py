"""Settings of older experiments in today's keys."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.model.old_settings import upgrade_settings

OLD: dict[str, Any] = {"drop_blank_runs": False, "max_compressed_length": None, "num_clusters": 0, "max_epoch": 7}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {**OLD, "compressor": "units", "num_clusters": 500, "ctc_dir": "exp/ctc"},
            {"compressor": "units", "compressor_conf": {"num_clusters": 500}, "freeze_encoder": True},
        ),
        (
            {**OLD, "compressor": "frame_average", "drop_blank_runs": True, "ctc_dir": "exp/ctc"},
            {
                "compressor": "frame_average",
                "compressor_conf": {"drop_blank_runs": True, "max_compressed_length": None},
                "freeze_encoder": True,
            },
        ),
        (
            {**OLD, "compressor": "convolution", "ctc_dir": None},
            {"compressor": "convolution", "compressor_conf": {}, "freeze_encoder": False},
        ),
    ],
)
def test_old_keys_become_those_of_today(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert upgrade_settings(old) == {"ctc_dir": old["ctc_dir"], "max_epoch": 7, **new}


def test_settings_of_today_stay_as_they_are() -> None:
    settings = {"compressor": "units", "compressor_conf": {"num_clusters": 5}, "freeze_encoder": True}
    assert upgrade_settings(settings) == settings


def test_mel_bins_of_a_network_become_the_width_of_its_features() -> None:
    old = {"encoder_conf": {"num_mels": 40, "conv_channels": 8}, "num_units": 30}
    assert upgrade_settings(old) == {"encoder_conf": {"conv_channels": 8}, "feature_dim": 40, "num_units": 30}
    assert upgrade_settings({"network_conf": {"num_mels": 80}}) == {"network_conf": {}, "feature_dim": 80}
