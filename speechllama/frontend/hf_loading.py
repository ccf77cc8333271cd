"""Load a speech encoder of transformers: its extractor, its model, and of that the encoder without the rest.

directory or hub id -> what makes the encoder's input; the model; its encoder; the dtype to compute in
"""

from __future__ import annotations

from typing import Any

import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.frontend.ctc_head import bare_encoder, read_unit_numbers
from speechllama.frontend.front_ends import FROZEN, HfSettings
from speechllama.hub import explain_hub_error


def load_extractor(settings: HfSettings) -> Any:
    """Load what makes the encoder's input of a waveform, with the encoder's own normalisation.

    Raises:
        ValueError: There is none, or it is for another sampling rate than 16 kHz.
    """
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(settings.path, revision=settings.revision)
    except (OSError, ValueError, KeyError) as error:
        reason = explain_hub_error(error) or f"no preprocessor_config.json of a speech encoder: {error}"
        raise InputError(f"{settings.path}: {reason}") from error
    rate = getattr(extractor, "sampling_rate", None)
    if rate != SAMPLE_RATE:
        raise InputError(f"{settings.path}: its input has a sampling rate of {rate} Hz, expected {SAMPLE_RATE}")
    return extractor


def load_model(settings: HfSettings) -> tuple[Any, set[str]]:
    """Load the model, with its CTC head if that is wanted, and name the weights that are missing.

    Raises:
        ValueError: transformers cannot load it, or it has no CTC model of its kind.
    """
    from transformers import AutoModel, AutoModelForCTC

    if settings.ctc_head:
        read_unit_numbers(settings)  # says in a line what AutoModelForCTC takes a page for
    kind = AutoModelForCTC if settings.ctc_head else AutoModel
    try:
        model, report = kind.from_pretrained(
            settings.path, revision=settings.revision, dtype="auto", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = explain_hub_error(error) or f"transformers cannot load it: {error}"
        raise InputError(f"{settings.path}: {reason}") from error
    return model.eval(), set(report["missing_keys"])


def take_encoder(model: Any, missing: set[str], settings: HfSettings) -> Any:
    """Take the encoder of a model, in the dtype of its file, without the decoder or the CTC head where there is one.

    Raises:
        ValueError: It reads no audio, or weights are missing.
    """
    encoder = model.get_encoder() if model.config.is_encoder_decoder else bare_encoder(model)
    if not str(encoder.main_input_name).startswith("input_") or encoder.main_input_name == "input_ids":
        raise InputError(f"{settings.path}: no speech encoder, a {type(encoder).__name__} of {encoder.main_input_name}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = {names[id(parameter)] for parameter in encoder.parameters() if id(parameter) in names}
    lost = sorted(own & missing)
    if lost:
        raise InputError(f"{settings.path}: {len(lost)} weights of the encoder are missing, first {lost[:3]}")
    return encoder.requires_grad_(False).eval()


def choose_dtype(settings: HfSettings, stored: torch.dtype, device: str) -> torch.dtype:
    """Return the dtype to compute in.

    `auto` is float32 on a CPU, and on a GPU what the weights are stored in; weights that train are float32.
    """
    if settings.train != FROZEN or (settings.dtype == "auto" and device == "cpu"):
        return torch.float32
    return stored if settings.dtype == "auto" else getattr(torch, settings.dtype)
