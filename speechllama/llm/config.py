"""Which LLM, in what precision, and what of it trains: the values of `llm_conf` in a YAML.

path, train, dtype, quantize, lora -> LLMConfig, refused where they contradict each other
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from speechllama.faults import InputError
from speechllama.lora import LoRAConfig

TrainMode = Literal["frozen", "lora", "full"]
Quantization = Literal["none", "8bit", "4bit"]


@dataclass(frozen=True)
class LLMConfig:
    """Which LLM, and what of it trains.

    Attributes:
        path: Local directory or hub id of a Hugging Face causal LM.
        revision: Revision on the hub; None for a local directory or the newest.
        train: `frozen`; `lora` (adapters train); `full` (everything trains).
        dtype: `auto` is bfloat16 on a GPU that has it, else float32; or a torch dtype's name. Not for `full`, whose
            weights stay in float32.
        without_weights: Take only the architecture from `path`, since a packed checkpoint has all of the weights; only
            for `full`.
        random_weights: Take only the architecture from `path` and draw weights (decoder-only from scratch); only
            for `full`, since frozen weights are in no checkpoint and would be drawn anew for decoding.
        attention: Attention implementation of transformers; `auto` is sdpa where the LLM has it, else eager.
        quantize: `8bit` or `4bit` (NF4, quantised scales) keep the linear layers so through bitsandbytes, for a GPU
            with little memory; embeddings and LM head keep `dtype`. Not for `full`.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again: about
            a third more time for a small part of the memory.
        lora: Adapter settings, used if `train` is `lora`.
    """

    path: str = ""
    revision: str | None = None
    train: TrainMode = "frozen"
    dtype: str = "auto"
    without_weights: bool = False
    random_weights: bool = False
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    quantize: Quantization = "none"
    gradient_checkpointing: bool = False
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def __post_init__(self) -> None:
        if self.train not in ("frozen", "lora", "full"):
            raise InputError(f"unknown llm train {self.train!r}, expected one of frozen, lora, full")
        for name in ("without_weights", "random_weights"):
            if getattr(self, name) and self.train != "full":
                raise InputError(f"llm {name} needs train: full, found {self.train}, which saves no such weights")
        if self.quantize not in ("none", "8bit", "4bit"):
            raise InputError(f"unknown llm quantize {self.quantize!r}, expected one of none, 8bit, 4bit")
        if self.quantize != "none" and self.train == "full":
            raise InputError(f"llm quantize {self.quantize} needs train: frozen or lora; {self.quantize} cannot train")
        if self.quantize != "none" and self.train == "lora" and self.lora.splits_weights:
            start = self.lora.init_lora_weights
            raise InputError(f"lora init_lora_weights {start} cannot split weights in llm quantize: {self.quantize}")
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise InputError(f"llm dtype {self.dtype!r} is neither auto nor a torch dtype such as bfloat16")
