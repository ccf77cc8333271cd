"""Which LLM, in what precision, and what of it trains: the values of `llm_conf` in a YAML.

path, train, dtype, quantize, lora -> LLMConfig, refused where they contradict each other
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import torch

from speechllama.faults import InputError

TrainMode = Literal["frozen", "lora", "full"]
Quantization = Literal["none", "8bit", "4bit"]
ALL_LINEAR = "all-linear"  # peft's name for every linear layer but the LM head
INITIALIZATIONS = re.compile(r"gaussian|orthogonal|pissa|pissa_niter_[1-9]\d*|olora")  # peft's, besides its default
SPLITTING = ("pissa", "olora")  # these take a part of the base's weights into the adapter


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters; the defaults are the paper's 2.1 M for LLaMA-7B (arXiv 2307.03917, section 4).

    Attributes:
        rank: Rank r.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the adapter, 0 to 1.
        targets: Names of the linear layers that get one, in every layer of the LLM; or `all-linear`.
        use_rslora: Scale by alpha / sqrt(rank), which keeps large ranks learning (arXiv 2312.03732).
        use_dora: Learn the length of each weight vector separately from its direction (arXiv 2402.09353).
        init_lora_weights: True is peft's default, under which a fresh adapter changes nothing. `gaussian` and
            `orthogonal` (even ranks) change nothing either. `pissa` (arXiv 2404.02948; `pissa_niter_4` is a faster
            approximation) and `olora` (arXiv 2406.01775) move the largest part of each weight into its adapter. peft's
            other kinds need data or a quantised base.
    """

    rank: int = 2
    alpha: float = 4.0
    dropout: float = 0.0
    targets: tuple[str, ...] | str = ("q_proj", "k_proj", "v_proj", "o_proj")
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | str = True

    def __post_init__(self) -> None:
        if isinstance(self.targets, str) and self.targets != ALL_LINEAR:
            raise InputError(f"unknown lora targets {self.targets!r}, expected {ALL_LINEAR} or a list of names")
        start = self.init_lora_weights
        if start is not True and not INITIALIZATIONS.fullmatch(str(start)):
            expected = INITIALIZATIONS.pattern.replace("|", ", ").replace(r"[1-9]\d*", "N")
            raise InputError(f"unknown lora init_lora_weights {start!r}, expected one of true, {expected}")
        if self.init_lora_weights == "orthogonal" and self.rank % 2:
            raise InputError(f"lora init_lora_weights orthogonal needs an even rank, found {self.rank}")

    @property
    def splits_weights(self) -> bool:
        """Whether a fresh adapter takes a part of the base's weights."""
        return str(self.init_lora_weights).startswith(SPLITTING)


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
    random_weights: bool = False
    attention: Literal["auto", "sdpa", "eager"] = "auto"
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
        if self.quantize != "none" and self.train == "lora" and self.lora.splits_weights:
            start = self.lora.init_lora_weights
            raise InputError(f"lora init_lora_weights {start} cannot split weights in llm quantize: {self.quantize}")
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise InputError(f"llm dtype {self.dtype!r} is neither auto nor a torch dtype such as bfloat16")
