"""Networks without weights: sizes and shapes with any LLM, on any machine, in a second.

settings + the LLM's config.json -> SpeechLlama on the meta device
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape
from speechllama.llm.architecture import causal_lm_class, check_layers, running, text_part
from speechllama.llm.attention import choose_attention
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import pretrained
from speechllama.llm.llm import LLM
from speechllama.model.build import speech_llama_config
from speechllama.model.encoders import Encoder
from speechllama.model.speech_llama import SpeechLlama
from speechllama.registry import Choice


@dataclass(frozen=True)
class EncoderShape:
    """What an encoder is built from.

    Attributes:
        choice: Its record and settings.
        num_units: CTC units C, blank included; 0 without a CTC head.
        features: Shape of the features.
    """

    choice: Choice[Encoder]
    num_units: int = 0
    features: FeatureShape = FeatureShape()

    def build(self) -> Any:
        """Build it on the active device, or in the active mode."""
        return self.choice.build(self.num_units, self.features)

    def num_frames(self, num_feature_frames: int) -> int:
        """Count the frames of its output."""
        return self.choice.record.num_frames(num_feature_frames, self.features.frame_shift)


def read_architecture(path: str | Path, revision: str | None = None) -> Any:
    """Read the shape of an LLM.

    Args:
        path: A config.json, a directory with one, a hub id or a GGUF file.
        revision: Revision on the hub.

    Returns:
        A transformers config; of a multimodal model, that of its text part.

    Raises:
        ValueError: transformers knows no such architecture, or an LLM of this kind is never admitted.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        architecture = AutoConfig.from_pretrained(**pretrained(str(path), revision))
    except (KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise InputError(f"{path}: no config.json of a causal LM: {error}") from error
    text = text_part(architecture, str(path))
    check_layers(text, str(path))
    return text


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
    attention = choose_attention(config.attention, causal_lm_class(architecture, config.path))
    with running(architecture), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture, dtype=dtype, attn_implementation=attention)
    with torch.device("meta"):
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
        if ctc and config.freeze_encoder:
            return SpeechLlama(config, ctc.build(), llm, ctc.num_units)
        return SpeechLlama(config, config.encoder.build(0, FeatureShape.recorded(settings)), llm)


def num_parameters(module: torch.nn.Module, trainable_only: bool = False) -> int:
    """Count parameters, tied ones once."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trainable_only)
