"""Settings of a Speech-LLaMA, from YAML to frozen dataclasses; an unknown key is an error.

mapping -> SpeechLlamaConfig
"""

from __future__ import annotations

from dataclasses import dataclass, field

from speechllama.faults import InputError
from speechllama.llm.config import LLMConfig
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR, Compressor
from speechllama.model.encoders import DEFAULT_ENCODER, ENCODERS, Encoder
from speechllama.model.layers import TransformerConfig
from speechllama.model.prefix_mask import PREFIX_MASKS, PrefixMaskName
from speechllama.registry import Choice, choose


def _default_encoder() -> Choice[Encoder]:
    return choose(ENCODERS, DEFAULT_ENCODER, {}, "encoder_conf")


def _default_compressor() -> Choice[Compressor]:
    return choose(COMPRESSORS, DEFAULT_COMPRESSOR, {}, "compressor_conf")


@dataclass(frozen=True)
class SpeechLlamaConfig:
    """The settings of the network.

    Attributes:
        freeze_encoder: The encoder is read from an experiment and does not train. False: it is built from `encoder` and
            trains with the rest (E0, D).
        encoder: The encoder and its sizes, if it trains.
        compressor: How the encoder's output is shortened.
        audio_encoder: Sizes of the audio encoder.
        train_audio_encoder: False freezes it (a switch for the LoRA stage).
        llm: The language model.
        prefix_mask: Who sees whom in prompt and audio.
        label_smoothing: Share of probability spread over the vocabulary in the loss, 0 to 1.
    """

    freeze_encoder: bool = True
    encoder: Choice[Encoder] = field(default_factory=_default_encoder)
    compressor: Choice[Compressor] = field(default_factory=_default_compressor)
    audio_encoder: TransformerConfig = field(default_factory=TransformerConfig)
    train_audio_encoder: bool = True
    llm: LLMConfig = field(default_factory=LLMConfig)
    prefix_mask: PrefixMaskName = "non_causal"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.prefix_mask not in PREFIX_MASKS:
            expected = ", ".join(PREFIX_MASKS)
            raise InputError(f"unknown prefix_mask {self.prefix_mask!r}, expected one of {expected}")
        compressor = self.compressor.record
        if compressor.needs_trained_encoder and not self.freeze_encoder:
            others = ", ".join(name for name in COMPRESSORS if not COMPRESSORS[name].needs_trained_encoder)
            raise InputError(
                f"the compressor {compressor.name} needs a trained encoder: freeze_encoder must be true, and ctc_dir "
                f"given; an encoder that trains takes one of {others}"
            )
