"""Checkpoints of a Speech-LLaMA hold what trains and a fingerprint of what does not.

    model -> state_dict {trainable tensors, base_fingerprint} -> the same model on the same base

Otherwise an experiment with LLaMA-7B would write 13 GB every epoch, and a checkpoint could be loaded on another LLM.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechllama.faults import InputError

FINGERPRINT = "base_fingerprint"
KEPT = "kept_in_checkpoints"  # attribute of a module with a base: names of the tensors that checkpoints hold


def keep_only_trainable(module: nn.Module, fingerprint: bytes, also: tuple[str, ...] = ()) -> None:
    """Make state_dict and load_state_dict of a module hold only its trainable parameters.

    A part of the module may have been given to this function before: a front end that trains has a base of its own.

    Which parameters train is read now: one that ESPnet freezes later is not in the base either. Buffers count as
    frozen. The fingerprint is stored as float32, one number a byte: ESPnet averages checkpoints key by key, and the
    mean of equal bytes is the same byte, while integers would be added up.

    Args:
        module: The network.
        fingerprint: Bytes that identify the frozen parts.
        also: Parts kept even if frozen, since no base holds them: what an earlier experiment trained.
    """
    parts = tuple(f"{part}." for part in also)
    kept = {name for name, tensor in module.named_parameters() if tensor.requires_grad or name.startswith(parts)}
    kept.add(FINGERPRINT)
    setattr(module, KEPT, frozenset(kept))
    module.register_buffer(FINGERPRINT, torch.tensor(list(fingerprint), dtype=torch.float32))
    module.register_state_dict_post_hook(functools.partial(_drop_frozen, kept))
    module.register_load_state_dict_pre_hook(functools.partial(_check_and_fill, kept))


def _drop_frozen(
    kept: set[str], module: nn.Module, state: dict[str, Tensor], prefix: str, _: Mapping[str, Any]
) -> None:
    for name in [name for name in state if name.startswith(prefix) and name[len(prefix) :] not in kept]:
        del state[name]


def _check_and_fill(expected: set[str], module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Refuse a checkpoint of another base or shape, then add the frozen tensors, which load onto themselves."""
    found = {name[len(prefix) :] for name in state if name.startswith(prefix)}
    own: Tensor = getattr(module, FINGERPRINT)
    if FINGERPRINT not in found:
        raise InputError("this checkpoint has no fingerprint of its base model: speechllama did not write it")
    if not torch.equal(state[prefix + FINGERPRINT].cpu(), own.cpu()):
        raise InputError(
            "this checkpoint was trained on another base model: the LLM, the CTC encoder or the front end now given "
            "has other weights. Give the ones named in the config.yaml next to the checkpoint, or train again"
        )
    if found != expected:
        missing, extra = sorted(expected - found), sorted(found - expected)
        raise InputError(
            f"the checkpoint does not fit the config: {len(missing)} tensors missing {missing[:5]}, "
            f"{len(extra)} unknown {extra[:5]}"
        )
    # Tied weights have a second name that no checkpoint holds, hence remove_duplicate; some buffers are never saved.
    own_tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    transient = {
        f"{path}.{name}" if path else name
        for path, part in module.named_modules()
        for name in part._non_persistent_buffers_set
    }
    left = transient | set(_base_of_parts(module))
    for name, tensor in own_tensors:
        if name not in left and prefix + name not in state:
            state[prefix + name] = tensor.detach()


def _base_of_parts(module: nn.Module) -> Iterator[str]:
    """Names of the tensors that a part adds itself, since no checkpoint of that part holds them."""
    for path, part in module.named_modules():
        kept = getattr(part, KEPT, None)
        if part is not module and kept is not None:
            tensors = [*part.named_parameters(remove_duplicate=False), *part.named_buffers()]
            yield from (f"{path}.{name}" for name, _ in tensors if name not in kept)
