"""The text LLM: any Hugging Face causal LM, frozen, with LoRA, or fully trained.

    embeddings (B, N, H), mask (B, 1, N, N), positions (B, N) -> logits of the last K columns (B, K, V)
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechllama.model.llm_files import check_llm_path, explain_hub_error

TrainMode = Literal["frozen", "lora", "full"]
Quantization = Literal["none", "8bit", "4bit"]
CAST_SWITCH = "cast_input_dtype_enabled"  # of peft's layers


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
            raise ValueError(f"llm train {self.train!r} is none of frozen, lora, full")
        if self.random_weights and self.train != "full":
            raise ValueError(f"llm random_weights needs train: full, found {self.train}, which saves no such weights")
        if self.quantize not in ("none", "8bit", "4bit"):
            raise ValueError(f"llm quantize {self.quantize!r} is none of none, 8bit, 4bit")
        if self.quantize != "none" and self.train == "full":
            raise ValueError(f"llm quantize {self.quantize} needs train: frozen or lora; {self.quantize} cannot train")
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"llm dtype {self.dtype!r} is neither auto nor a torch dtype such as bfloat16")


class LLM(nn.Module):
    """A causal LM behind one narrow door: embed tokens, score positions.

    Its frozen weights keep the dtype they were loaded in (the host casts the model to float32 before training), and
    its dropout stays off unless it is fully trained.

    Args:
        config: Which LLM.
        device: Where it will compute; it decides what dtype `auto` means. Weights that exist are read straight to a
            GPU, without a copy in the machine's memory; random ones stay on the CPU until `to`.
        model: A causal LM made elsewhere, in place of the one at `config.path`.

    Raises:
        FileNotFoundError, ValueError: The path is no causal LM, it has no end of sequence or takes no position_ids,
            or a LoRA target is absent; it shall be quantised where that is not possible.
    """

    def __init__(self, config: LLMConfig, device: str | torch.device = "cpu", model: Any = None) -> None:
        super().__init__()
        self.config = config
        self.model = load_causal_lm(config, device) if model is None else model
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            raise ValueError(
                f"{config.path}: {type(self.model).__name__} takes no position_ids; without them a padded utterance "
                "would differ from the same one alone. Choose another LLM"
            )
        self.base_dtype = self.model.dtype
        self.eos_token_id = find_eos(self.model, config.path)
        if config.train != "full":
            self.model.requires_grad_(False)
        if config.train == "lora":
            self.model = add_lora(self.model, config.lora)
        if config.gradient_checkpointing:
            checkpoint_layers(self.model)

    @property
    def dim(self) -> int:
        """Width H."""
        return int(self.model.get_input_embeddings().weight.shape[1])

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
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, num_logits: int, cache: Any = None
    ) -> Tensor:
        """Score the next token at the last columns.

        Args:
            embeddings: Input vectors (B, Q, H).
            mask: Additive attention mask (B, 1, Q, N), N keys with those cached.
            positions: Position ids (B, Q).
            num_logits: Columns K at the end that get logits: audio needs none, and the LM head over all
                columns costs more than the rest of a small model.
            cache: Keys and values of earlier columns, extended in place; None to keep none.

        Returns:
            Logits (B, K, V).
        """
        with self._precision(embeddings.device):
            output = self.model(
                inputs_embeds=embeddings.to(self.base_dtype),
                attention_mask=mask.to(self.base_dtype),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=num_logits,
            )
        logits: Tensor = output.logits[:, -num_logits:]  # some models pass over logits_to_keep
        return logits

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
        # The host calls model.to(dtype=float32), which would double the memory of a bf16 LLM: only the device moves.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)
        return self


def choose_dtype(name: str, device: str | torch.device) -> torch.dtype:
    """The dtype a config names; `auto` is bfloat16 on a GPU that computes in it, else float32."""
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    # Emulated bfloat16, as on a V100 or T4, is slower than float32.
    has_bf16 = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def check_quantization(config: LLMConfig, device: str | torch.device) -> None:
    """Refuse a quantised LLM where it cannot be had.

    Raises:
        ValueError: There is no GPU to compute on, or bitsandbytes is not installed.
    """
    if config.quantize == "none":
        return
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        raise ValueError(
            f"llm quantize {config.quantize} needs an NVIDIA GPU: give --ngpu 1 where there is one, or quantize: none"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(f"llm quantize {config.quantize} needs the package bitsandbytes: pip install -e '.[quant]'")


def _quantization_settings(config: LLMConfig, dtype: torch.dtype) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    if config.quantize == "none":
        return {}
    if config.quantize == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    # NF4 with quantised scales: QLoRA's setting (arXiv 2305.14314, section 3).
    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": four}


def _placement(device: str | torch.device) -> dict[str, Any]:
    """Where the weights are read to: the process' own GPU, which the host has chosen by now, or the CPU."""
    where = torch.device(device)
    if where.type != "cuda":
        return {}
    return {"device_map": {"": torch.cuda.current_device() if where.index is None else where.index}}


def load_causal_lm(config: LLMConfig, device: str | torch.device) -> Any:
    """Load a Hugging Face causal LM, or build it with random weights.

    Raises:
        FileNotFoundError: A local path is no directory with a config.json.
        ValueError: transformers cannot make a causal LM of it, its files lack some of the weights, the hub refuses
            it, or it cannot be quantised here.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    check_llm_path(config.path)
    check_quantization(config, device)
    dtype = torch.float32 if config.train == "full" else choose_dtype(config.dtype, device)
    settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": config.attention}
    try:
        if config.random_weights:
            architecture = AutoConfig.from_pretrained(config.path, revision=config.revision)
            return AutoModelForCausalLM.from_config(architecture, **settings)
        settings |= _placement(device) | _quantization_settings(config, dtype)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            config.path, revision=config.revision, output_loading_info=True, **settings
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = explain_hub_error(error) or f"transformers cannot load a causal LM from it: {error}"
        raise ValueError(f"{config.path}: {reason}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # transformers draws them at random and goes on
        raise ValueError(f"{config.path}: the weights lack {len(missing)} tensors of config.json: {missing[:3]}")
    return model


def find_eos(model: Any, path: str) -> int:
    """The LLM's end of sequence; the first where its config names several.

    Raises:
        ValueError: It names none.
    """
    for settings in (model.config.get_text_config(), getattr(model, "generation_config", None)):
        eos = getattr(settings, "eos_token_id", None)
        if eos is not None:
            return int(eos[0] if isinstance(eos, list) else eos)
    raise ValueError(f"{path}: config.json has no eos_token_id; the model could never stop. Add the tokenizer's")


def add_lora(model: Any, config: LoRAConfig) -> Any:
    """Put adapters into the model's linear layers, in place; only they train.

    Raises:
        ValueError: A target names no layer of the model.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = [target for target in config.targets if target not in names]
    if missing:
        raise ValueError(f"LoRA targets {missing} are no linear layers of this LLM; it has {sorted(names)}")
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft declares int and computes with any number
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        bias="none",
    )
    adapted = inject_adapter_in_model(settings, model)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()  # master weights: an update of 1e-4 vanishes in bfloat16
    if model.dtype == torch.bfloat16:  # else peft keeps a float32 copy of every adapter's input; see LLM._precision
        for module in adapted.modules():
            if isinstance(module, BaseTunerLayer):
                setattr(module, CAST_SWITCH, False)
    return adapted


def checkpoint_layers(model: Any) -> None:
    """Make each decoder layer keep only its input for the backward pass.

    transformers does so only for layers in training mode, where dropout would wake; ours stay in evaluation mode.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = functools.partial(_recompute, layer.forward)


def _recompute(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
