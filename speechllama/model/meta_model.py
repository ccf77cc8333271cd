"""Networks without weights: sizes and shapes with any LLM, on any machine, in a second.

settings + the LLM's config.json -> SpeechLlama on the meta device
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.constants import FRAME_SHIFT, NUM_MELS
from speechllama.faults import InputError
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import is_gguf, pretrained
from speechllama.llm.llm import LLM
from speechllama.model.build import feature_format, speech_llama_config
from speechllama.model.encoders import Encoder
from speechllama.model.speech_llama import SpeechLlama
from speechllama.registry import Choice


@dataclass(frozen=True)
class EncoderShape:
    """What an encoder is built from.

    Attributes:
        choice: Its record and settings.
        num_units: CTC units C, blank included; 0 without a CTC head.
        feature_dim: Width F of the features.
        feature_shift: Seconds from a feature frame to the next.
    """

    choice: Choice[Encoder]
    num_units: int = 0
    feature_dim: int = NUM_MELS
    feature_shift: float = FRAME_SHIFT

    def build(self) -> Any:
        """Build it on the active device, or in the active mode."""
        return self.choice.build(self.num_units, self.feature_dim, self.feature_shift)

    def num_frames(self, num_feature_frames: int) -> int:
        """Count the frames of its output."""
        return self.choice.record.num_frames(num_feature_frames)


def read_architecture(path: str | Path, revision: str | None = None) -> Any:
    """Read the shape of an LLM.

    Args:
        path: A config.json, a directory with one, a hub id or a GGUF file.
        revision: Revision on the hub.

    Returns:
        A transformers config.

    Raises:
        ValueError: transformers knows no such architecture.
    """
    from transformers import AutoConfig

    if is_gguf(path) or not Path(path).is_file():
        return AutoConfig.from_pretrained(**pretrained(str(path), revision))
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        return AutoConfig.for_model(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: no config.json of a causal LM: {error}") from error


def meta_encoder(shape: EncoderShape) -> Any:
    """Make an encoder without weights."""
    with torch.device("meta"):
        return shape.build()


def meta_llm(config: LLMConfig, architecture: Any) -> LLM:
    """An LLM of that shape in the dtype the config names (bfloat16 for `auto`), its weights without memory.

    Args:
        config: Which part of it trains. Quantisation is ignored, since it happens when weights are read.
        architecture: Its transformers config.
    """
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if config.dtype == "auto" else getattr(torch, config.dtype)
    dtype = torch.float32 if config.train == "full" else dtype
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture, dtype=dtype, attn_implementation=config.attention)
        return LLM(config, model=model)


def meta_speech_llama(
    settings: Mapping[str, Any], where: str, architecture: Any, ctc: EncoderShape | None
) -> SpeechLlama:
    """The network that settings describe, without weights.

    Args:
        settings: As for `speech_llama_config`; llm_dir is ignored.
        where: The file, for messages.
        architecture: The LLM's transformers config.
        ctc: The trained CTC encoder; not used where the encoder is new (E0, D).

    Raises:
        ValueError: A setting that does not exist or fit, or a LoRA target that this LLM lacks.
    """
    config = speech_llama_config(settings, where, ("", None))
    llm = meta_llm(config.llm, architecture)
    with torch.device("meta"):
        trained = ctc.build() if ctc and config.freeze_encoder else None
        return SpeechLlama(config, trained or config.encoder.build(0, *feature_format(settings)), llm)


def num_parameters(module: torch.nn.Module, trainable_only: bool = False) -> int:
    """Count parameters, tied ones once."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trainable_only)
