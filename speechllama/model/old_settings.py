"""Settings of older experiments, translated into today's keys.

config.yaml of any age -> settings of today
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from speechllama.model.compressors import COMPRESSORS

COMPRESSOR_KEYS = ("drop_blank_runs", "max_compressed_length", "num_clusters")  # in compressor_conf since
FRESH_ENCODER = "convolution"  # the compressor that meant a fresh encoder, which `freeze_encoder: false` says since
NETWORK_KEYS = ("encoder_conf", "network_conf")  # that held num_mels, which is feature_dim since


def upgrade_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the settings of an experiment of any kind, or of a packed one.

    Args:
        settings: The content of config.yaml.

    Returns:
        The same in today's keys; settings of today stay as they are.

    Raises:
        ValueError: There is no such compressor.
    """
    upgraded = {name: value for name, value in settings.items() if name not in COMPRESSOR_KEYS}
    for key in NETWORK_KEYS:
        conf = dict(settings.get(key) or {})
        if "num_mels" in conf:
            upgraded.setdefault("feature_dim", conf.pop("num_mels"))
            upgraded[key] = conf
    prompt = settings.get("prompt_conf")
    if isinstance(prompt, Mapping) and "template" in prompt:  # recorded in full, as every version has done
        upgraded["prompt_conf"] = {"start_token": "bos", **prompt}
    if "compressor" not in settings:  # a CTC encoder, or an encoder-decoder
        return upgraded
    if "compressor_conf" not in settings:
        known = [field.name for field in dataclasses.fields(COMPRESSORS[settings["compressor"]].settings)]
        upgraded["compressor_conf"] = {name: settings[name] for name in known if name in settings}
    upgraded.setdefault("freeze_encoder", bool(settings.get("ctc_dir")))
    return upgraded
