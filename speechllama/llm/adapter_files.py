"""Adapters in peft's form: a directory that PeftModel.from_pretrained reads, and that a training can start from.

LLM with adapters, their tensors -> <dir>/{adapter_config.json, adapter_model.safetensors} -> LLM with these adapters
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechllama.faults import InputError, MissingFileError, first_ten
from speechllama.files import read_json
from speechllama.hub import fingerprint
from speechllama.llm.adapters import ADAPTER, adapted_layers, peft_settings
from speechllama.llm.llm import LLM
from speechllama.lora import LoRAConfig

SETTINGS_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
BASE = "base_fingerprint"  # in the weights' metadata, of adapters that we wrote: which LLM they belong to
WRAPPED = "base_model.model."  # where a PeftModel has the LLM
# Starts that take something out of the base's weights: such an adapter fits only the base that was left.
SPLITTING = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings of peft's that our LoRA has no counterpart for, and the value that means "not used".
UNSUPPORTED: dict[str, Any] = {
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "lora_bias": False,
    "trainable_token_indices": None,
    "layer_replication": None,
}
STARTS_OF = "adapter_starts."  # in a checkpoint: what adapters held at first, see AdapterStarts


@dataclass(frozen=True)
class Base:
    """The LLM that adapters are on.

    Attributes:
        path: Local directory or hub id.
        revision: Revision on the hub.
        fingerprint: Of its weights, in hexadecimal; see `speechllama.hub.fingerprint`.
    """

    path: str
    revision: str | None
    fingerprint: str


def write_adapter(folder: Path, llm: LLM, tensors: Mapping[str, Tensor], base: Base) -> None:
    """Write adapters as peft does, for the original LLM, whatever their start.

    Adapters whose start took a part of the weights (PiSSA, OLoRA) fit only the rest. On the original LLM the same
    network is W + s (B A - B0 A0), s (B A) with the start s (B0 A0) taken off: adapters of twice the rank, [A; A0] and
    [B, -B0]. DoRA's lengths are of the same sum, so they stay.

    Args:
        folder: Exists; gets the two files.
        llm: The LLM with adapters; its weights are not read, so it may be on the meta device.
        tensors: What a checkpoint has of the LLM, by the names of `llm.state_dict()`.
        base: The original LLM.

    Source: for PiSSA, arXiv 2404.02948, appendix C; peft's `subtract_mutated_init`, without its limits to LoRA.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = llm.config.lora
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if ".lora_" in name}
    # save_embedding_layers asks the hub whether the vocabulary has grown; it never does here.
    found = get_peft_model_state_dict(llm.model, state_dict=weights, save_embedding_layers=False)
    if config.splits_weights:
        found = {name: _without_start(name, tensor, tensors) for name, tensor in found.items()}
        grown = math.sqrt(2) if config.use_rslora else 2  # the scale stays alpha / rank, or alpha / sqrt(rank)
        config = dataclasses.replace(config, rank=2 * config.rank, alpha=grown * config.alpha, init_lora_weights=True)
    layers = {name: layer.get_base_layer() for name, layer in adapted_layers(llm.model)}
    settings = peft_settings(config, layers)
    settings.task_type, settings.base_model_name_or_path, settings.revision = "CAUSAL_LM", base.path, base.revision
    settings.inference_mode = True
    settings.save_pretrained(str(folder))
    whole = {f"{WRAPPED}{name}": tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}
    save_file(whole, folder / WEIGHTS_FILE, metadata={"format": "pt", BASE: base.fingerprint})


def _without_start(name: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Append the start of an adapter's factor, so that the product of both factors loses it."""
    layer, _, factor = name.rpartition(".lora_")  # "...q_proj", "A.weight"
    if factor[:1] not in "AB":
        return tensor
    start = tensors[f"{STARTS_OF}{layer.replace('.', '/')}/{factor[0]}"].to(tensor)
    return torch.cat([tensor, start]) if factor[0] == "A" else torch.cat([tensor, -start], dim=1)


def load_adapter(folder: Path, llm: LLM, base: Base) -> None:
    """Start the adapters of an LLM from somebody's.

    Args:
        folder: In peft's form.
        llm: The LLM, with fresh adapters.
        base: What the LLM is.

    Raises:
        FileNotFoundError, ValueError: As `check_adapter`; or the adapters belong to another LLM.
    """
    from peft import set_peft_model_state_dict

    check_adapter(folder, llm)
    check_base(folder, base)
    set_peft_model_state_dict(llm.model, _read(folder), adapter_name=ADAPTER)
    logging.info("adapters start from %s", folder)


def check_adapter(folder: Path, llm: LLM) -> None:
    """Refuse adapters of another kind, size or place than the LLM's; reads no weights.

    Args:
        folder: In peft's form.
        llm: The LLM, with adapters; on the meta device, too.

    Raises:
        FileNotFoundError: There are none.
        ValueError: They do not fit; the message says what would.
    """
    from peft import get_peft_model_state_dict

    settings = read_adapter_settings(folder)
    check_settings(settings, llm.config.lora, folder)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(llm.model, save_embedding_layers=False).items()
    }
    found = _shapes(folder)
    differing = [
        f"{name}: {found.get(name, 'none')} in the adapter, {expected.get(name, 'none')} here"
        for name in sorted(expected.keys() | found.keys())
        if found.get(name) != expected.get(name)
    ]
    if differing:
        raise InputError(
            f"{folder / WEIGHTS_FILE}: {len(differing):,} tensors do not fit this LLM and its adapters; the adapter "
            f"has target_modules {_targets(settings)}, llm_conf has lora targets {llm.config.lora.targets}. Give "
            f"llm_conf those of the adapter, and the LLM that it was trained on:{first_ten(differing, 4)}"
        )


def check_settings(settings: Mapping[str, Any], config: LoRAConfig, folder: Path) -> None:
    """Refuse adapters that compute something else than the ones that the config describes.

    Raises:
        ValueError: They do; all differences are named, with the setting that would fit.
    """
    where = folder / SETTINGS_FILE
    if settings.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type {settings.get('peft_type')!r}, expected LORA; only LoRA can be continued")
    start = settings.get("init_lora_weights", True)
    if str(start).lower().startswith(SPLITTING):
        raise InputError(
            f"{where}: init_lora_weights {start!r} took a part of the LLM's weights, so these adapters do not fit the "
            "LLM itself; let peft convert them (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if config.splits_weights:
        raise InputError(
            f"llm_conf: lora: init_lora_weights: {config.init_lora_weights} is another start than the adapters of "
            f"{folder}; leave it out"
        )
    used = [
        f"{key}: {settings[key]!r}" for key, off in UNSUPPORTED.items() if settings.get(key, off) not in (off, None)
    ]
    if used:
        raise InputError(f"{where}: {', '.join(used)}: speechllama trains nothing of the kind; take another adapter")
    theirs = {
        "rank": settings.get("r"),
        "alpha": settings.get("lora_alpha"),
        "use_rslora": bool(settings.get("use_rslora")),
        "use_dora": bool(settings.get("use_dora")),
    }
    differing = [f"{key} {value} there, {getattr(config, key)} here" for key, value in theirs.items()
                 if value != getattr(config, key)]  # fmt: skip
    if differing:
        fitting = ", ".join(f"{key}: {json.dumps(value)}" for key, value in theirs.items())
        raise InputError(
            f"{where}: another adapter than that of llm_conf: {'; '.join(differing)}. Set in the system's YAML, or in "
            f"one that includes it: llm_conf: {{lora: {{{fitting}, targets: {_targets(settings)}}}}}"
        )


def check_base(folder: Path, base: Base) -> None:
    """Refuse adapters of another LLM, as far as the directory says whose they are.

    Raises:
        ValueError: They say that they are.
    """
    with _opened(folder) as file:
        recorded = (file.metadata() or {}).get(BASE, "")
    named = str(read_adapter_settings(folder).get("base_model_name_or_path") or "")
    if not recorded and named != base.path and Path(named).joinpath("config.json").is_file():
        recorded = fingerprint(named).hex()
    if recorded:
        if recorded != base.fingerprint:
            raise InputError(
                f"{folder}: these adapters were trained on other weights ({named}) than those of {base.path}"
            )
        return
    if not named:
        logging.warning("%s does not say which LLM it belongs to; that its tensors fit %s is all that is known", *(
            folder / SETTINGS_FILE, base.path))  # fmt: skip
    elif named != base.path:
        raise InputError(
            f"{folder / SETTINGS_FILE}: these adapters belong to {named}, the LLM here is {base.path}. Give --llm "
            f"{named}; if both are the same weights, write {base.path} as base_model_name_or_path into that file"
        )


def adapter_fingerprint(folder: Path) -> str:
    """A digest of an adapter's settings and weights, which config.yaml keeps."""
    digest = hashlib.sha256(json.dumps(read_adapter_settings(folder), sort_keys=True).encode())
    digest.update(_weights_file(folder).read_bytes())
    return digest.hexdigest()[:32]


def read_adapter_settings(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no JSON object.
    """
    if not (folder / SETTINGS_FILE).is_file():
        raise MissingFileError(
            f"{folder / SETTINGS_FILE}: no adapter there; expected a directory as save_pretrained of peft writes it. "
            "Fetch one of the hub with: hf download ORGANISATION/NAME --local-dir DIR"
        )
    return read_json(folder / SETTINGS_FILE)


def _targets(settings: Mapping[str, Any]) -> str:
    """The names of the adapted layers, as a YAML has them."""
    targets = settings.get("target_modules")
    return f"[{', '.join(sorted(targets))}]" if isinstance(targets, list) else str(targets)


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise MissingFileError(f"{path}: no weights of the adapter; others than safetensors are not read")
    return path


def _opened(folder: Path) -> Any:
    """Open the weights without reading them; names and shapes are at their beginning."""
    from safetensors import SafetensorError, safe_open

    path = _weights_file(folder)
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); copy it again") from error


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    with _opened(folder) as file:
        return {name.removeprefix(WRAPPED): tuple(file.get_slice(name).get_shape()) for name in file.keys()}


def _read(folder: Path) -> dict[str, Tensor]:
    with _opened(folder) as file:
        return {name.removeprefix(WRAPPED): file.get_tensor(name).float() for name in file.keys()}
