"""Load a Hugging Face causal LM as its config says: precision, device, quantisation, adapters.

LLMConfig, device -> a causal LM of transformers, its end of sequence; adapters and recomputed layers in place
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from speechllama.faults import InputError
from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.files import check_llm_path, explain_hub_error, load_tokenizer

CAST_SWITCH = "cast_input_dtype_enabled"  # of peft's layers


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
        raise InputError(
            f"llm quantize {config.quantize} needs an NVIDIA GPU: give --ngpu 1 where there is one, or quantize: none"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"llm quantize {config.quantize} needs the package bitsandbytes: pip install -e '.[quant]'")


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
    """Where the weights are read to: the process's own GPU, which ESPnet has chosen by now, or the CPU."""
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
        raise InputError(f"{config.path}: {reason}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # transformers draws them at random and continues
        raise InputError(f"{config.path}: the weights lack {len(missing)} tensors of config.json: {missing[:3]}")
    return model


def find_eos(model: Any, path: str, revision: str | None = None) -> int:
    """Find the LLM's end of sequence; where it has several, the one that its tokenizer ends a text with.

    A chat model's config.json may begin with the end of its base model.

    Args:
        model: A causal LM.
        path: Where its tokenizer is; "" for a model without one, of which the first end counts.
        revision: Revision on the hub.

    Raises:
        ValueError: It names none, or its tokenizer ends a text with something else.
    """
    found: dict[int, None] = {}
    for settings in (model.config.get_text_config(), getattr(model, "generation_config", None)):
        ends = getattr(settings, "eos_token_id", None)
        found.update(dict.fromkeys(ends if isinstance(ends, list) else [] if ends is None else [ends]))
    if not found:
        raise InputError(
            f"{path or 'the LLM'}: config.json has no eos_token_id; the model could never stop. Add the tokenizer's"
        )
    if len(found) > 1 and path:
        return int(load_tokenizer(path, revision).eos_token_id)
    return int(next(iter(found)))


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
        raise InputError(f"LoRA targets {missing} are no linear layers of this LLM; it has {sorted(names)}")
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
