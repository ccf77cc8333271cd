"""Load a Hugging Face causal LM as its config says: precision, device, quantisation, adapters.

LLMConfig, device -> a causal LM of transformers, its end of sequence; recomputed layers in place

Of a multimodal model the text part is taken, so that nothing of the rest is in memory, trains or gets adapters.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from speechllama.faults import InputError
from speechllama.hub import explain_hub_error
from speechllama.llm.architecture import causal_lm_class, text_part
from speechllama.llm.attention import choose_attention
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import check_llm_path, load_tokenizer


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
    from transformers import AutoConfig, AutoModelForCausalLM

    check_llm_path(config.path)
    check_quantization(config, device)
    dtype = torch.float32 if config.train == "full" else choose_dtype(config.dtype, device)
    with _explained(config.path):
        architecture = AutoConfig.from_pretrained(config.path, revision=config.revision)
    text = text_part(architecture, config.path)
    model_class = causal_lm_class(text, config.path)
    attention = choose_attention(config.attention, model_class)
    settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention}
    with _explained(config.path):
        if config.random_weights or config.without_weights:
            return AutoModelForCausalLM.from_config(text, **settings)
        settings |= _placement(device) | _quantization_settings(config, dtype)
        settings |= {"revision": config.revision, "output_loading_info": True}
        model, report = _whole_class(architecture).from_pretrained(config.path, **settings)
    missing = sorted(report["missing_keys"])
    if missing:  # transformers draws them at random and continues
        raise InputError(f"{config.path}: the weights lack {len(missing)} tensors of config.json: {missing[:3]}")
    return model if isinstance(model, model_class) else take_text_part(model, model_class, config.path)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Say what to do where transformers or the hub refuses a model."""
    try:
        yield
    except Exception as error:  # files of unknown origin fail in many ways: SafetensorError, TypeError, KeyError ...
        reason = explain_hub_error(error) or f"transformers cannot load a causal LM from it: {error}"
        raise InputError(f"{path}: {reason}") from error


def _whole_class(architecture: Any) -> Any:
    """The class of transformers that reads all the weights of a checkpoint, multimodal ones too."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoModelForMultimodalLM

    return AutoModelForCausalLM if type(architecture) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForMultimodalLM


def take_text_part(whole: Any, model_class: type[Any], where: str) -> Any:
    """Take the text LLM out of a multimodal model: its decoder and its LM head, under the class of a text LLM.

    Args:
        whole: The multimodal model, loaded; of no use afterwards.
        model_class: The class of its text part's causal LM.
        where: Path or hub id, for messages.

    Raises:
        ValueError: Its decoder is not that of the class.
    """
    from transformers import AutoModelForCausalLM

    text, decoder, head = whole.config.get_text_config(), whole.get_decoder(), whole.get_output_embeddings()
    implementation = text._attn_implementation
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(text, dtype=whole.dtype, attn_implementation=implementation)
    expected = type(model.base_model)
    if type(decoder) is not expected or head is None:
        raise InputError(
            f"{where}: the text part of {type(whole).__name__} is a {type(decoder).__name__}, expected a "
            f"{expected.__name__} with an LM head; choose an LLM that is published as a text model"
        )
    setattr(model, model.base_model_prefix, decoder)
    model.set_output_embeddings(head)
    model.generation_config = getattr(whole, "generation_config", None)
    return model.eval()


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
