"""Settings of low-rank adapters (LoRA), of an LLM or of a front end; `speechllama/llm/adapters.py` makes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from speechllama.faults import InputError

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
class FrontEndLoRA(LoRAConfig):
    """Adapters of a speech encoder: those of the LLM with other defaults, on queries and values.

    Source: ours; Hu et al. 2022 (arXiv 2106.09685, section 7.1) find queries and values best for a given size.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
