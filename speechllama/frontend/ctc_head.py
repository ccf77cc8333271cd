"""The CTC head of a checkpoint of transformers (`...ForCTC`), for the front end `hf` with `ctc_head: true`.

    config.json -> CTCUnitNumbers: how many units, which of them is blank
    model -> its encoder, CTCHead: states (T, H) -> logits (T, C), blank first

No family is listed: a head is the one layer from H to C next to the one encoder, and its logits are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.frontend.front_ends import HfSettings
from speechllama.hub import explain_hub_error

ADVICE = "leave ctc_head out, and stage ctc trains a head on its states"


@dataclass(frozen=True)
class CTCUnitNumbers:
    """How a checkpoint numbers its CTC units.

    Attributes:
        num_units: Units C, blank included.
        blank: The checkpoint's number of blank, which is 0 everywhere else in this package.
    """

    num_units: int
    blank: int

    def order(self) -> list[int]:
        """Return the checkpoint's number of each of our units: blank first, the others in their order."""
        return [self.blank, *(number for number in range(self.num_units) if number != self.blank)]


class CTCHead(NamedTuple):
    """A linear layer from states to logits, blank first: weight (C, H) and bias (C,), float32."""

    weight: Tensor
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        """States (..., H) -> logits (..., C)."""
        return nn.functional.linear(states, self.weight, self.bias)


def read_unit_numbers(settings: HfSettings) -> CTCUnitNumbers:
    """Read how a checkpoint numbers its CTC units, without its weights.

    Raises:
        ValueError: transformers has no CTC model of its kind, or its config names no blank.
    """
    from transformers import MODEL_FOR_CTC_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(settings.path, revision=settings.revision)
    except (OSError, ValueError, KeyError) as error:
        reason = explain_hub_error(error) or f"transformers cannot read its config.json: {error}"
        raise InputError(f"{settings.path}: {reason}") from error
    if type(config) not in MODEL_FOR_CTC_MAPPING:
        raise InputError(f"{settings.path}: transformers has no CTC model of its kind ({config.model_type}); {ADVICE}")
    return unit_numbers(config, settings.path)


def unit_numbers(config: Any, path: str) -> CTCUnitNumbers:
    """Read the units of a CTC model's config.

    Blank is what transformers' own loss takes for it: the padding, unless the config has a number for blank.

    Raises:
        ValueError: The config does not say how many units there are, or which of them is blank.
    """
    num_units = getattr(config, "vocab_size", None) or 0
    own = getattr(config, "blank_token_id", None)
    blank = getattr(config, "pad_token_id", None) if own is None else own
    if blank is None or not 0 <= blank < num_units:
        raise InputError(
            f"{path}: its config.json names no blank among {num_units} CTC units (pad_token_id {blank}); set the "
            "number of blank there, as its vocab.json says, or leave ctc_head out"
        )
    return CTCUnitNumbers(num_units, blank)


def bare_encoder(model: Any) -> Any:
    """Return what computes the states: of some families (Parakeet), AutoModel is the model with its CTC head."""
    from transformers import PreTrainedModel

    if not type(model).__name__.endswith("ForCTC"):
        return model
    inside = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    return inside[0] if len(inside) == 1 else model


def take_head(model: Any, missing: set[str], path: str) -> CTCHead:
    """Take the CTC head of a model.

    Args:
        model: A `...ForCTC` of transformers.
        missing: Names of the weights that its checkpoint does not have.
        path: Its directory or hub id, for messages.

    Raises:
        ValueError: It is not one linear layer, the checkpoint does not have it, or there is no blank.
    """
    numbers = unit_numbers(model.config, path)
    layers = {name: layer for name, layer in model.named_children() if is_linear(layer, numbers.num_units)}
    if len(layers) != 1 or bare_encoder(model) is model:
        raise InputError(
            f"{path}: the CTC head of a {type(model).__name__} ({describe_parts(model)}) is not one linear layer of "
            f"{numbers.num_units} units next to an encoder; {ADVICE}"
        )
    name, layer = next(iter(layers.items()))
    random = sorted(missing & {f"{name}.{part}" for part, _ in layer.named_parameters()})
    if random:
        raise InputError(
            f"{path}: has no CTC head ({', '.join(random)} are not in its weights); {ADVICE}, or give a checkpoint "
            "that was tuned with CTC"
        )
    order = numbers.order()
    weight: Any = layer.weight
    bias = weight.new_zeros(numbers.num_units) if layer.bias is None else layer.bias
    return CTCHead(weight.detach().flatten(1)[order].float().cpu(), bias.detach()[order].float().cpu())


def is_linear(layer: nn.Module, num_units: int) -> bool:
    """Whether a layer maps each state to C numbers: nn.Linear, or a convolution with a kernel of 1 (Parakeet)."""
    if isinstance(layer, nn.Conv1d):
        return layer.out_channels == num_units and layer.kernel_size == (1,) and layer.groups == 1
    return isinstance(layer, nn.Linear) and layer.out_features == num_units


def describe_parts(model: nn.Module) -> str:
    """Name the parts of a model, for a message."""
    return ", ".join(f"{name}: {type(child).__name__}" for name, child in model.named_children())


def check_logits(ours: Tensor, logits: Tensor, path: str, tolerance: float) -> None:
    """Compare the head's logits of some states with those of the model itself.

    Args:
        ours: Logits (T, C), blank first.
        logits: The model's own, in our order.
        path: Its directory or hub id, for the message.
        tolerance: Largest difference, in standard deviations of the logits.

    Raises:
        ValueError: They differ: something is between its states and its head.
    """
    worst = float((ours - logits).abs().max() / (logits.std() + 1e-9)) if ours.shape == logits.shape else torch.inf
    if not worst <= tolerance:
        raise InputError(
            f"{path}: its CTC head, on the states of the front end, gives other logits than the model itself (by "
            f"{worst:.2g} standard deviations); {ADVICE}"
        )
