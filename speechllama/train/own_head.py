"""The CTC experiment of a checkpoint that brings its CTC head: nothing trains, the head is taken over.

dump/train/frontend.json -> front end -> config.yaml, model.pth, as CTC training writes them
"""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import torch
import yaml

from speechllama.constants import OWN_HEAD
from speechllama.faults import InputError
from speechllama.files import atomic_write, writing
from speechllama.frontend.ctc_head import CTCHead
from speechllama.frontend.feature_format import read_format
from speechllama.model.build import CONFIG_FILE, MODEL_FILE
from speechllama.model.encoders import choose_encoder
from speechllama.text.checkpoint_units import read_units


def adopt_head(data_dir: str | Path, tokenizer: str, output_dir: str | Path) -> None:
    """Write the CTC experiment of the front end that wrote some features.

    Args:
        data_dir: Data directory with features, whose frontend.json says what wrote them.
        tokenizer: units.json of the checkpoint's units, as config.yaml should name it.
        output_dir: Gets config.yaml and model.pth.

    Raises:
        FileNotFoundError, ValueError: The front end has no CTC head, it is no longer that of the features, or the units
            are not those of its head.
    """
    features = read_format(data_dir)
    head = getattr(features.build(), "ctc_head", None)
    if not isinstance(head, CTCHead):
        raise InputError(
            f"{data_dir}: its front end ({features.frontend}) brings no CTC head; set ctc_head: true in its YAML and "
            "make the features again"
        )
    num_units = read_units(tokenizer).num_units
    if len(head.weight) != num_units:
        raise InputError(f"{tokenizer}: {num_units} CTC units, but the CTC head has {len(head.weight)}")
    settings: dict[str, Any] = {"encoder": OWN_HEAD, "encoder_conf": {}, "tokenizer": tokenizer, "num_units": num_units}
    choice = choose_encoder(settings, str(data_dir))
    encoder = choice.build(num_units, features.shape)
    encoder.head.load_state_dict(head._asdict())
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / CONFIG_FILE) as stream:
        yaml.safe_dump({**settings, **dataclasses.asdict(features)}, stream, sort_keys=False)
    partial = folder / f"{MODEL_FILE}.tmp"
    with writing(folder / MODEL_FILE):
        torch.save(encoder.state_dict(), partial)
    os.replace(partial, folder / MODEL_FILE)
    logging.info("%s: %d CTC units of %s, nothing trained", folder, num_units, features.frontend_conf.get("path"))
