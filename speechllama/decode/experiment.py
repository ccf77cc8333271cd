"""Load a trained speech LLM, or a packed one, for decoding.

exp/<system>/ or <name>.zip -> network on a device, prompt, settings
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.config import from_mapping
from speechllama.decode.packed import find_folder
from speechllama.faults import InputError, MissingFileError
from speechllama.files import find_path
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import read_llm_record
from speechllama.model.build import CONFIG_FILE, build_speech_llama, front_end_path
from speechllama.model.build import read_settings as read_config_file
from speechllama.model.speech_llama import SpeechLlama
from speechllama.model.weights import read_weights, weights_path
from speechllama.text.prompt import Prompt, PromptConfig, make_prompts

NETWORK = "network."  # prefix of our network in ESPnet's model
BASES = ("llm_dir", "ctc_dir", "cmvn_file", "centroids_file", "tokenizer")  # settings that are paths


@dataclass(frozen=True)
class Experiment:
    """What decoding needs.

    Attributes:
        network: The network, in evaluation mode.
        prompts: Render prompts with the LLM's tokenizer, by the tasks that can be asked for; the last is the default.
        device: Where the network is.
        folder: Directory that holds config.yaml and model.pth.
        settings: The content of config.yaml.
    """

    network: SpeechLlama
    prompts: dict[str, Prompt]
    device: torch.device
    folder: Path
    settings: dict[str, Any]

    @property
    def prompt(self) -> Prompt:
        """The prompt where no task is asked for."""
        return next(reversed(self.prompts.values()))

    def prompt_of(self, task: str) -> Prompt:
        """The prompt that asks for a task; a part of a longer output has no prompt of its own."""
        return self.prompts.get(task, self.prompt)


def load_experiment(path: str | Path, device: str = "cpu") -> Experiment:
    """Load a trained experiment.

    Args:
        path: Experiment directory, packed zip or repository on the hub; see `find_folder`.
        device: torch device.

    Returns:
        The experiment.

    Raises:
        FileNotFoundError: It is not a finished experiment, or its LLM or CTC encoder is missing.
        ValueError: The weights belong to another LLM or CTC encoder, or do not fit the config; or there is no GPU.
    """
    folder = find_folder(path)
    settings = read_settings(folder)
    missing = [name for name in ("llm_dir", "prompt_conf", "task_name") if not settings.get(name)]
    if missing:
        raise InputError(
            f"{folder / CONFIG_FILE}: no {', '.join(missing)}: no experiment of a speech LLM, or the file was cut; put "
            "it back, or train again"
        )
    network = build_speech_llama(settings, str(folder / CONFIG_FILE), device)
    state = read_weights(folder)
    try:
        network.load_state_dict({name.removeprefix(NETWORK): tensor for name, tensor in state.items()})
    except (ValueError, RuntimeError) as error:
        bases = ", ".join(str(settings[name]) for name in ("llm_dir", "ctc_dir") if settings.get(name))
        raise InputError(f"{weights_path(folder)}: {error} (given are {bases})") from error
    config = from_mapping(PromptConfig, settings["prompt_conf"], f"{folder / CONFIG_FILE}: prompt_conf")
    tokenizer = load_tokenizer(*read_llm_record(settings["llm_dir"]))
    prompts = make_prompts(config, settings["task_name"], tokenizer)
    return Experiment(network.to(device).eval(), prompts, torch.device(device), folder, settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read config.yaml; its paths are relative to the folder (packed), to the recipe above it, or to the current one.

    Raises:
        FileNotFoundError: It is not a finished experiment.
    """
    for path in (folder / CONFIG_FILE, weights_path(folder)):
        if not path.is_file():
            raise MissingFileError(f"{path}: no trained experiment there; run it to stage `average`")
    settings = read_config_file(folder)
    for name in BASES:
        settings[name] = find_path(str(settings.get(name) or ""), folder)
    weights = front_end_path(settings)
    if weights:
        settings["frontend_conf"] = {**settings["frontend_conf"], "path": find_path(weights, folder)}
    return settings
