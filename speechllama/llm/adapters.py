"""Low-rank adapters in a model of transformers, through peft, and what a checkpoint must keep of them.

model, LoRAConfig -> the same with adapters that train; the adapters' start, where the base gave up weights for it
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.lora import ALL_LINEAR, LoRAConfig

ADAPTER = "default"  # peft's name of the only one
CONV = "Conv1D"  # GPT-2's linear layer, whose weight is (in, out)
OWN_KINDS = "transformers.models."  # where families have their own kinds of linear layer
CAST_SWITCH = "cast_input_dtype_enabled"  # of peft's layers


def add_lora(model: Any, config: LoRAConfig) -> None:
    """Put adapters into the model's linear layers, in place; only they train.

    On the meta device, where there are no weights to split, an adapter gets peft's default start.

    Raises:
        ValueError: A target names no layer of the model.
    """
    from peft import inject_adapter_in_model

    layers = linear_layers(model)
    names = {name.rpartition(".")[2] for name in layers}
    missing = [] if config.targets == ALL_LINEAR else [target for target in config.targets if target not in names]
    if missing:
        raise InputError(f"LoRA targets {missing} are no linear layers of this model; it has {sorted(names)}")
    settings = peft_settings(config, layers)
    if next(model.parameters()).is_meta:
        settings.init_lora_weights = True
    inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()  # master weights: an update of 1e-4 vanishes in bfloat16
    if model.dtype == torch.bfloat16:  # else peft keeps a float32 copy of every adapter's input; see LLM._precision
        for _, layer in adapted_layers(model):
            setattr(layer, CAST_SWITCH, False)


def peft_settings(config: LoRAConfig, layers: Mapping[str, nn.Module]) -> Any:
    """Our settings as those of peft.

    Args:
        config: Ours.
        layers: What could get an adapter, from `linear_layers`.

    Returns:
        peft's LoraConfig.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft declares int and computes with any number
        lora_dropout=config.dropout,
        target_modules=list(layers) if config.targets == ALL_LINEAR else list(config.targets),
        bias="none",
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=config.init_lora_weights,  # type: ignore[arg-type]
        fan_in_fan_out=all(type(layer).__name__ == CONV for layer in layers.values()),
    )


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """The layers that can get an adapter, by name: the linear ones without the LM head.

    A family's own kind of linear layer is left out, since it returns more than a product: Llama 4's router of experts.
    """
    from transformers.pytorch_utils import Conv1D

    kinds, head = (nn.Linear, Conv1D), model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, kinds) and module is not head and not type(module).__module__.startswith(OWN_KINDS)
    }


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that have an adapter, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return ((name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))


@contextlib.contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Switch the adapters off for a while; what trains is the same afterwards.

    Where adapters have taken a part of the base's weights (PiSSA, OLoRA), what is left is not the original model.
    """
    layers = [layer for _, layer in adapted_layers(model)]
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for name, parameter in model.named_parameters():  # peft sets all adapters to train, also those that were frozen
            parameter.requires_grad_(trains[name])


class AdapterStarts(nn.Module):
    """What adapters held at first, where that was taken out of the base's weights (PiSSA, OLoRA).

    The base is read anew in every process and split again, which rounding or another machine may do a little
    differently. A checkpoint therefore holds the start of its adapters next to the adapters, and loading it puts the
    base's weights where they were: those of the file, less the checkpoint's start.

    Args:
        model: The model, fresh from `add_lora`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._layers = dict(adapted_layers(model))  # a plain dict: they are modules of the model, not of this
        for name, layer in self._layers.items():
            for part, weight in zip("AB", _factors(layer), strict=True):
                start = nn.Parameter(weight.detach().clone(), requires_grad=False)
                self.register_parameter(f"{name.replace('.', '/')}/{part}", start)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for name, layer in self._layers.items():
            keys = [f"{name.replace('.', '/')}/{part}" for part in "AB"]
            now: list[Tensor] = [self.get_parameter(key) for key in keys]
            new = [state_dict.get(prefix + key, own).to(own) for key, own in zip(keys, now, strict=True)]
            if not all(torch.equal(*pair) for pair in zip(now, new, strict=True)):
                self._move(layer, now, new)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @staticmethod
    @torch.no_grad()
    def _move(layer: Any, now: list[Tensor], new: list[Tensor]) -> None:
        """Change the base's weight, in place, from one start of its adapter to another."""
        moved = layer.scaling[ADAPTER] * (now[1] @ now[0] - new[1] @ new[0])  # (out, in)
        weight = layer.get_base_layer().weight
        weight.copy_(weight.float() + (moved.T if layer.fan_in_fan_out else moved))


def _factors(layer: Any) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank) of a layer's adapter."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
