"""The text LLM: any Hugging Face causal LM, frozen, with LoRA, or fully trained.

embeddings (B, N, H), who sees whom (B, 1, N, N), positions (B, N) -> logits of the last K columns (B, K, V)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from speechllama.llm.adapters import AdapterStarts, add_lora, without_adapters
from speechllama.llm.architecture import cache_argument, check_interface
from speechllama.llm.attention import attention_mask
from speechllama.llm.config import LLMConfig
from speechllama.llm.context import context_length
from speechllama.llm.loading import checkpoint_layers, find_eos, load_causal_lm


class LLM(nn.Module):
    """A causal LM with one narrow interface: embed tokens, score positions.

    Its frozen weights keep the dtype they were loaded in (ESPnet casts the model to float32 before training), and
    its dropout stays off unless it is fully trained.

    Args:
        config: Which LLM.
        device: Where it will compute; it decides what dtype `auto` means. Weights that exist are read straight to a
            GPU, without a copy in the machine's memory; random ones stay on the CPU until `to`.
        model: A causal LM made elsewhere, in place of the one at `config.path`.

    Raises:
        FileNotFoundError, ValueError: The path is no causal LM, it has no end of sequence or takes no position_ids,
            or a LoRA target is absent; it should be quantised where that is not possible.
    """

    def __init__(self, config: LLMConfig, device: str | torch.device = "cpu", model: Any = None) -> None:
        super().__init__()
        self.config = config
        self.model = load_causal_lm(config, device) if model is None else model
        check_interface(type(self.model), config.path)
        self.text_config = self.model.config.get_text_config()
        self.cache_argument = cache_argument(type(self.model))
        self.base_dtype = self.model.dtype
        self.eos_token_id = find_eos(self.model, config.path if model is None else "", config.revision)
        if config.train != "full":
            self.model.requires_grad_(False)
        if config.train == "lora":
            add_lora(self.model, config.lora)
            if config.lora.splits_weights:
                self.adapter_starts = AdapterStarts(self.model)
        if config.gradient_checkpointing:
            checkpoint_layers(self.model)

    @property
    def dim(self) -> int:
        """Width H."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def context(self) -> int | None:
        """Positions that prompt, audio and text share; None where there is no limit."""
        return context_length(self.model.config, self.config.random_weights)

    @property
    def embedding_std(self) -> float:
        """Standard deviation of the input embeddings, the scale audio must have; 1 without weights (meta device)."""
        weight = self.model.get_input_embeddings().weight
        if weight.is_meta:
            return 1.0
        # Looked up, not read from the weight: Gemma's embedding layer multiplies by the root of its width.
        with torch.no_grad():
            return float(self.embed(torch.arange(len(weight), device=weight.device)).float().std())

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed token ids (B, L), padding negative, into (B, L, H)."""
        embeddings: Tensor = self.model.get_input_embeddings()(tokens.clamp(min=0))
        return embeddings

    def forward(
        self, embeddings: Tensor, seen: Tensor, positions: Tensor, num_logits: int, cache: Any = None
    ) -> Tensor:
        """Score the next token at the last columns.

        Args:
            embeddings: Input vectors (B, Q, H).
            seen: True where a query sees a key (B, 1, Q, N), N keys with those cached. What a layer's window leaves of
                it is found here.
            positions: Position ids of all N columns (B, N); the queries are the last Q.
            num_logits: Columns K at the end that get logits: audio needs none, and the LM head over all
                columns costs more than the rest of a small model.
            cache: Keys and values of earlier columns, extended in place; None to keep none.

        Returns:
            Logits (B, K, V).
        """
        num_queries = embeddings.shape[1]
        # Picked by index, not cut off: a cut of a batch is not contiguous, and the LM head then copies its weights for
        # each row (tools/benchmark.py compares the two).
        columns = torch.arange(num_queries - num_logits, num_queries, device=embeddings.device)
        with self._precision(embeddings.device):
            output = self.model(
                inputs_embeds=embeddings.to(self.base_dtype),
                attention_mask=attention_mask(self.text_config, seen, positions, self.base_dtype),
                position_ids=positions[:, -num_queries:],
                use_cache=cache is not None,
                logits_to_keep=columns if num_logits < num_queries else 0,  # 0: all of them
                **{self.cache_argument: cache},
            )
        logits: Tensor = output.logits[:, -num_logits:]  # some models ignore logits_to_keep
        return logits

    def without_adapters(self) -> contextlib.AbstractContextManager[None]:
        """Compute as the LLM does without its adapters, while this is entered; without any, nothing changes."""
        return without_adapters(self.model) if self.config.train == "lora" else contextlib.nullcontext()

    def _precision(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Adapters of a bfloat16 LLM compute in bfloat16, too, so that no float32 copy of their input is kept."""
        if self.config.train != "lora" or self.base_dtype != torch.bfloat16 or device.type == "meta":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def train(self, mode: bool = True) -> LLM:
        """Set training mode without waking the dropout of frozen layers (adapters keep theirs)."""
        super().train(mode and self.config.train == "full")
        if self.config.train == "lora":
            for name, module in self.model.named_modules():
                if "lora_dropout" in name:
                    module.train(mode)
        self.training = mode
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LLM:
        # ESPnet calls model.to(dtype=float32), which would double the memory of a bf16 LLM: only the device moves.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)
        return self
