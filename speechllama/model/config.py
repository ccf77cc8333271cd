"""Settings of a Speech-LLaMA, from YAML to frozen dataclasses; an unknown key is an error.

mapping -> SpeechLlamaConfig
"""

from __future__ import annotations

from dataclasses import dataclass, field

from speechllama.llm.config import LLMConfig
from speechllama.model.compressor import CompressorConfig
from speechllama.model.ctc_encoder import CTCEncoderConfig
from speechllama.model.layers import TransformerConfig
from speechllama.model.prefix_mask import PREFIX_MASKS, PrefixMaskName


@dataclass(frozen=True)
class SpeechLlamaConfig:
    """Everything that shapes the network.

    Attributes:
        ctc_dir: Experiment directory of the trained CTC encoder, which stays frozen; empty: `encoder` is built
            from its own settings and trains (E0).
        encoder: Sizes of the encoder if `ctc_dir` is empty.
        compressor: How the encoder's output is shortened.
        audio_encoder: Sizes of the audio encoder.
        train_audio_encoder: False freezes it (a switch for the LoRA stage).
        llm: The language model.
        prefix_mask: Who sees whom in prompt and audio.
        label_smoothing: Share of probability spread over the vocabulary in the loss, 0 to 1.
    """

    ctc_dir: str = ""
    encoder: CTCEncoderConfig = field(default_factory=CTCEncoderConfig)
    compressor: CompressorConfig = field(default_factory=CompressorConfig)
    audio_encoder: TransformerConfig = field(default_factory=TransformerConfig)
    train_audio_encoder: bool = True
    llm: LLMConfig = field(default_factory=LLMConfig)
    prefix_mask: PrefixMaskName = "non_causal"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.prefix_mask not in PREFIX_MASKS:
            raise ValueError(f"prefix_mask {self.prefix_mask!r} is none of {', '.join(PREFIX_MASKS)}")
