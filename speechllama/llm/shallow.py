"""A large LLM made shallow, with a layer of each kind that it has.

causal LM of N layers -> the same of the first n, in place
"""

from __future__ import annotations

from typing import Any

from torch import nn

MAX_WEIGHTS = 1_000_000_000  # up to here an LLM keeps all layers: 4 GB in float32
NUM_LAYERS = 2  # fewest layers that stay
PLACES = ("idx", "index", "layer_id")  # parts of attributes' names that number a layer


def shorten(model: Any, max_weights: int = MAX_WEIGHTS) -> int:
    """Drop layers of a large LLM from the end, but for the first of each kind and those before it.

    Layers are of one kind if they are built from the same classes with the same settings, and have the same name in
    `layer_types`.

    Args:
        model: A causal LM of transformers.
        max_weights: An LLM of at most so many weights keeps all of them.

    Returns:
        The number of layers left.
    """
    text = model.config.get_text_config()
    depth = int(text.num_hidden_layers)
    if sum(weight.numel() for weight in model.parameters()) <= max_weights:
        return depth
    lists = [
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == depth
    ]
    kinds = getattr(text, "layer_types", None) or [""] * depth
    keep = NUM_LAYERS
    for module, name in lists:
        described = [(kinds[place], _describe(layer)) for place, layer in enumerate(getattr(module, name))]
        keep = max(keep, *(described.index(kind) + 1 for kind in described))
    if not lists or keep >= depth:
        return depth
    for module, name in lists:
        setattr(module, name, getattr(module, name)[:keep])
    text.num_hidden_layers = keep
    return keep


def _describe(layer: nn.Module) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """Names, classes and settings of a layer's modules; equal for layers that differ in weights and place only."""
    return [
        (
            name,
            type(module).__name__,
            sorted((key, value) for key, value in vars(module).items() if _is_setting(key, value)),
        )
        for name, module in layer.named_modules()
    ]


def _is_setting(name: str, value: object) -> bool:
    is_plain = isinstance(value, (bool, int, float, str))
    return is_plain and not any(place in name for place in PLACES)
