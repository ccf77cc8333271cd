"""Load a trained experiment, or a packed one, for decoding; pack one into a zip.

exp/<system>/ or <name>.zip -> network on a device, prompt, settings
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from speechllama.config import from_mapping
from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json, writing
from speechllama.hub import WEIGHT_FILES
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.model.build import CONFIG_FILE, MODEL_FILE, build_speech_llama, front_end_path
from speechllama.model.build import read_settings as read_config_file
from speechllama.model.checkpoint import load_weights
from speechllama.model.speech_llama import SpeechLlama
from speechllama.text.prompt import Prompt, PromptConfig

NETWORK = "network."  # prefix of our network in ESPnet's model
BASES = ("llm_dir", "ctc_dir", "cmvn_file", "centroids_file")  # settings that are paths


@dataclass(frozen=True)
class Experiment:
    """What decoding needs.

    Attributes:
        network: The network, in evaluation mode.
        prompt: Renders prompts with the LLM's tokenizer.
        device: Where the network is.
        folder: Directory that holds config.yaml and model.pth.
        settings: The content of config.yaml.
    """

    network: SpeechLlama
    prompt: Prompt
    device: torch.device
    folder: Path
    settings: dict[str, Any]


def load_experiment(path: str | Path, device: str = "cpu") -> Experiment:
    """Load a trained experiment.

    Args:
        path: Experiment directory, or a zip that stage `pack` wrote (unpacked next to itself, once).
        device: torch device.

    Returns:
        The experiment.

    Raises:
        FileNotFoundError: It is not a finished experiment, or its LLM or CTC encoder is missing.
        ValueError: The weights belong to another LLM or CTC encoder, or do not fit the config; or there is no GPU.
    """
    folder = unpack(Path(path)) if Path(path).suffix == ".zip" else Path(path)
    settings = read_settings(folder)
    network = build_speech_llama(settings, str(folder / CONFIG_FILE), device)
    state = load_weights(folder / MODEL_FILE)
    try:
        network.load_state_dict({name.removeprefix(NETWORK): tensor for name, tensor in state.items()})
    except (ValueError, RuntimeError) as error:
        bases = ", ".join(str(settings[name]) for name in ("llm_dir", "ctc_dir") if settings.get(name))
        raise InputError(f"{folder / MODEL_FILE}: {error} (given are {bases})") from error
    config = from_mapping(PromptConfig, settings["prompt_conf"], f"{folder / CONFIG_FILE}: prompt_conf")
    tokenizer = load_tokenizer(*read_llm_record(settings["llm_dir"]))
    prompt = Prompt(config, settings["task_name"], tokenizer)
    return Experiment(network.to(device).eval(), prompt, torch.device(device), folder, settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read config.yaml; its paths are relative to the folder (packed), to the recipe above it, or to the current one.

    Raises:
        FileNotFoundError: It is not a finished experiment.
    """
    for name in (CONFIG_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise MissingFileError(f"{folder / name}: no trained experiment there; run it to stage `average`")
    settings = read_config_file(folder)
    missing = [name for name in ("llm_dir", "prompt_conf", "task_name") if not settings.get(name)]
    if missing:
        raise InputError(
            f"{folder / CONFIG_FILE}: no {', '.join(missing)}: no experiment of a speech LLM, or the file was cut; put "
            "it back, or train again"
        )
    for name in BASES:
        settings[name] = _find(str(settings.get(name) or ""), folder)
    weights = front_end_path(settings)
    if weights:
        settings["frontend_conf"] = {**settings["frontend_conf"], "path": _find(weights, folder)}
    return settings


def _find(value: str, folder: Path) -> str:
    """Return the path that a setting means; one that is nowhere, such as a hub id, stays as it is."""
    places = [place / value for place in (folder, *folder.resolve().parents) if value]
    return next((str(place) for place in places if place.exists()), value)


def pack(exp_dir: str | Path, output: str | Path, include_llm: bool) -> Path:
    """Pack an experiment into one zip that `load_experiment` reads anywhere.

    Args:
        exp_dir: The experiment, at stage `average` or later.
        output: The zip.
        include_llm: Put the LLM (small ones) and the weights of the front end into the zip; otherwise it has their
            paths or hub ids. For a local LLM that was fully trained, the zip has config and tokenizer in any case: the
            weights are the experiment's.

    Returns:
        The zip.

    Raises:
        FileNotFoundError: The experiment or one of its bases is not complete.
        ValueError: The LLM should be packed, but only its hub id is known.
    """
    folder, output = Path(exp_dir), Path(output)
    settings = read_settings(folder)
    files: list[tuple[Path, str]] = [(folder / MODEL_FILE, MODEL_FILE)]
    if settings.get("freeze_encoder"):
        files += [(Path(settings["ctc_dir"]) / name, f"ctc/{name}") for name in (CONFIG_FILE, MODEL_FILE)]
        settings["ctc_dir"] = "ctc"
    elif settings.get("cmvn_file"):
        files.append((Path(settings["cmvn_file"]), "cmvn.npz"))
        settings["cmvn_file"] = "cmvn.npz"
    if settings.get("centroids_file"):
        files.append((Path(settings["centroids_file"]), "centroids.npz"))
        settings["centroids_file"] = "centroids.npz"
    files += pack_front_end(settings, include_llm)
    llm_conf = settings.get("llm_conf") or {}
    record, llm_files = pack_llm(settings["llm_dir"], include_llm, has_weights=llm_conf.get("train") != "full")
    if llm_files and llm_conf.get("train") == "full":
        settings["llm_conf"] = {**llm_conf, "random_weights": True}  # all of them are in model.pth
    files += llm_files
    settings["llm_dir"] = "llm"
    missing = [str(file) for file, _ in files if not file.is_file()]
    if missing:
        raise MissingFileError(f"{folder}: cannot be packed without {missing}; run the stages that write them")
    partial = output.with_name(f"{output.name}.tmp")
    with writing(output), zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(CONFIG_FILE, yaml.safe_dump(settings, sort_keys=False))
        archive.writestr(f"llm/{LLM_FILE}", json.dumps(record, indent=2))
        for file, name in files:
            archive.write(file, name)
    partial.replace(output)
    logging.info("%s: %d files, %.1f MB", output, len(files) + 2, output.stat().st_size / 1e6)
    return output


def pack_front_end(settings: dict[str, Any], include_weights: bool) -> list[tuple[Path, str]]:
    """Return the files of a front end to pack, and write into the settings where it will be; a hub id stays."""
    folder = Path(front_end_path(settings) or "no weights")
    if not folder.is_dir():
        return []
    settings["frontend_conf"]["path"] = "frontend" if include_weights else str(folder.resolve())
    inside = sorted(file for file in folder.iterdir() if file.is_file()) if include_weights else []
    return [(file, f"frontend/{file.name}") for file in inside]


def pack_llm(llm_dir: str, include_llm: bool, has_weights: bool) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Return the LLM's record for the zip, and the files to pack with it.

    Args:
        llm_dir: Where llm.json is.
        include_llm: Whether the LLM goes inside.
        has_weights: False if the experiment's own weights replace the LLM's; a local LLM is then packed without them.
    """
    path, _ = read_llm_record(llm_dir)
    record = read_json(Path(llm_dir) / LLM_FILE)
    folder = Path(path)
    if not include_llm and (has_weights or not folder.is_dir()):
        return {**record, "path": str(folder.resolve()) if folder.is_dir() else path}, []
    if not folder.is_dir():
        raise InputError(f"{path}: a hub id; only an LLM in a local directory can be packed with --include_llm true")
    name = folder.resolve().name
    inside = [file for file in sorted(folder.iterdir()) if file.is_file()]
    if not has_weights:
        inside = [file for file in inside if not any(file.match(kind) for kind in (*WEIGHT_FILES, "*.index.json"))]
    files = [(file, f"llm/{name}/{file.name}") for file in inside]
    return {**record, "path": name}, files


def unpack(archive: Path) -> Path:
    """Unpack a zip next to itself, once; a newer zip is unpacked again.

    Raises:
        FileNotFoundError: There is no such zip.
        ValueError: It is no zip.
    """
    if not archive.is_file():
        raise MissingFileError(f"{archive}: no such packed model")
    folder = archive.with_suffix(".unpacked")
    if folder.is_dir() and folder.stat().st_mtime >= archive.stat().st_mtime:
        return folder
    partial = archive.with_suffix(".unpacked.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(partial)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive}: not a packed model ({error}); pack it again (stage `pack`)") from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder
