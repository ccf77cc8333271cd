"""Which LLM, in what precision, and what of it trains: the values of `llm_conf` in a YAML.

path, train, dtype, quantize, lora -> LLMConfig, refused where they contradict each other
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from speechllama.faults import InputError

TrainMode = Literal["frozen", "lora", "full"]
Quantization = Literal["none", "8bit", "4bit"]


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters; the defaults are the paper's 2.1 M for LLaMA-7B (arXiv 2307.03917, section 4).

    Attributes:
        rank: Rank r.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the adapter, 0 to 1.
        targets: Names of the linear layers that get one, in every layer of the LLM.
    """

    rank: int = 2
    alpha: float = 4.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class LLMConfig:
    """Which LLM, and what of it trains.

    Attributes:
        path: Local directory or hub id of a Hugging Face causal LM.
        revision: Revision on the hub; None for a local directory or the newest.
        train: `frozen`; `lora` (adapters train); `full` (everything trains).
        dtype: `auto` is bfloat16 on a GPU that has it, else float32; or a torch dtype's name. Not for `full`, whose
            weights stay in float32.
        random_weights: Take only the architecture from `path` and draw weights (decoder-only from scratch); only
            for `full`, since frozen weights are in no checkpoint and would be drawn anew for decoding.
        attention: Attention implementation of transformers; it must take a 4-D mask.
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
    random_weights: bool = False
    attention: Literal["sdpa", "eager"] = "sdpa"
    quantize: Quantization = "none"
    gradient_checkpointing: bool = False
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def __post_init__(self) -> None:
        if self.train not in ("frozen", "lora", "full"):
            raise InputError(f"unknown llm train {self.train!r}, expected one of frozen, lora, full")
        if self.random_weights and self.train != "full":
            raise InputError(f"llm random_weights needs train: full, found {self.train}, which saves no such weights")
        if self.quantize not in ("none", "8bit", "4bit"):
            raise InputError(f"unknown llm quantize {self.quantize!r}, expected one of none, 8bit, 4bit")
        if self.quantize != "none" and self.train == "full":
            raise InputError(f"llm quantize {self.quantize} needs train: frozen or lora; {self.quantize} cannot train")
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise InputError(f"llm dtype {self.dtype!r} is neither auto nor a torch dtype such as bfloat16")
