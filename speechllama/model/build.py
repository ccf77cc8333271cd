"""Build a Speech-LLaMA from the settings an experiment recorded, without ESPnet.

{key: value} of config.yaml -> SpeechLlama on its base (LLM, encoder)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechllama.config import from_mapping, read_yaml
from speechllama.constants import SEQ2SEQ
from speechllama.faults import InputError, MissingFileError
from speechllama.frontend.feature_format import recorded_format
from speechllama.hub import fingerprint
from speechllama.llm.llm import LLM
from speechllama.llm.record import check_admission, read_llm_record
from speechllama.model.checkpoint import keep_only_trainable
from speechllama.model.compressor import UnitCompressor
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR, Compressor
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.encoders import choose_encoder
from speechllama.model.front_end import FrontedEncoder, build_encoder
from speechllama.model.old_settings import upgrade_settings
from speechllama.model.speech_llama import SpeechLlama
from speechllama.model.weights import MODEL_FILE as MODEL_FILE  # which experiments have
from speechllama.model.weights import read_arrays, read_weights, weights_path
from speechllama.registry import Choice, choose

CONFIG_FILE = "config.yaml"  # written by ESPnet next to the weights


def speech_llama_config(
    settings: Mapping[str, Any], where: str, llm: tuple[str, str | None] | None = None
) -> SpeechLlamaConfig:
    """Read the network's settings out of an experiment's.

    Args:
        settings: The experiment's settings (YAML keys, `config.yaml`); others are ignored.
        where: Name of the file, for messages.
        llm: Path or hub id of the LLM, and its revision; None: those that `llm_dir` records.

    Returns:
        The config.

    Raises:
        FileNotFoundError, ValueError: No llm_dir, a setting that does not exist or fit, or a prefix mask or
            an attention that the LLM is not admitted for.
    """
    path, revision = read_llm_record(str(settings.get("llm_dir") or "")) if llm is None else llm
    values: dict[str, Any] = {
        "encoder": choose_encoder(settings, where),
        "compressor": choose_compressor(settings, where),
        "audio_encoder": settings.get("audio_encoder_conf") or {},
        "llm": {**(settings.get("llm_conf") or {}), "path": path, "revision": revision},
    }
    for name in ("freeze_encoder", "train_audio_encoder", "prefix_mask", "label_smoothing"):
        if settings.get(name) is not None:
            values[name] = settings[name]
    config = from_mapping(SpeechLlamaConfig, values, where)
    if llm is None:
        try:
            check_admission(str(settings["llm_dir"]), config.prefix_mask, config.llm.attention)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
    return config


def choose_compressor(settings: Mapping[str, Any], where: str) -> Choice[Compressor]:
    """Read `compressor` and `compressor_conf` out of an experiment's settings.

    Raises:
        ValueError: There is no such compressor, or it has no such setting.
    """
    name = settings.get("compressor", DEFAULT_COMPRESSOR)
    return choose(COMPRESSORS, name, settings.get("compressor_conf") or {}, f"{where}: compressor_conf")


def build_speech_llama(settings: Mapping[str, Any], where: str, device: str | torch.device = "cpu") -> SpeechLlama:
    """Build the network on its trained base; its own trainable weights are fresh.

    Args:
        settings: As for `speech_llama_config`; a frozen encoder also needs `ctc_dir`, one that trains `cmvn_file`, the
            compressor `units` `centroids_file`.
        where: Name of the file, for messages.
        device: Where it will compute; see `LLM`.

    Returns:
        The network, on the CPU. Its checkpoints hold only what trains, here or in the experiment it starts from, with
        a fingerprint of LLM and encoder.

    Raises:
        FileNotFoundError, ValueError: A file is missing, or settings contradict each other.
    """
    check_device(device)
    config = speech_llama_config(settings, where)
    ctc_dir = str(settings.get("ctc_dir") or "")
    if config.freeze_encoder and not ctc_dir:
        raise InputError(
            f"{where}: freeze_encoder needs ctc_dir, a trained encoder (stage ctc); without one set it false"
        )
    if ctc_dir and not config.freeze_encoder:
        raise InputError(
            f"{where}: freeze_encoder is false, so ctc_dir {ctc_dir} would not be read; drop one of the two"
        )
    llm, num_units = LLM(config.llm, device), 0
    if config.freeze_encoder:
        encoder = load_ctc_encoder(ctc_dir, front_end_path(settings))
        num_units = int(read_settings(ctc_dir)["num_units"])
    else:
        encoder = build_encoder(config.encoder, 0, recorded_format(settings, where))
        encoder.set_normalization(*read_cmvn(str(settings.get("cmvn_file") or "")))
    model = SpeechLlama(config, encoder, llm, num_units)
    load_centroids(model.compressor, str(settings.get("centroids_file") or ""))
    also = ["audio_encoder", "llm.adapter_starts"]
    if isinstance(encoder, FrontedEncoder) and not config.freeze_encoder:
        also.append("encoder.front_end.adapter_starts")
    keep_only_trainable(model, base_fingerprint(model), also=tuple(also))
    return model


def is_seq2seq(exp_dir: str | Path) -> bool:
    """Whether an experiment directory holds an encoder-decoder (B1), finished or not."""
    return (Path(exp_dir) / CONFIG_FILE).is_file() and read_settings(exp_dir).get("model") == SEQ2SEQ


def check_device(device: str | torch.device) -> None:
    """Refuse a missing GPU before anything is loaded.

    Raises:
        ValueError: torch finds no GPU.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no GPU here; take --ngpu 0, or see tools/check_install.py for what is installed")


def read_settings(exp_dir: str | Path) -> dict[str, Any]:
    """Read config.yaml of an experiment of any kind and age, finished or not.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(exp_dir) / CONFIG_FILE
    if not path.is_file():
        raise MissingFileError(f"{path}: no experiment there")
    settings = read_yaml(path)
    if not settings:
        raise InputError(f"{path}: empty; train this experiment again, or put its config.yaml back")
    return upgrade_settings(settings)


def front_end_path(settings: Mapping[str, Any]) -> str:
    """Return where the front end's weights are; "" if it has none."""
    return str((settings.get("frontend_conf") or {}).get("path") or "")


def load_ctc_encoder(ctc_dir: str | Path, front_end: str = "") -> Any:
    """Load the trained CTC encoder of an experiment directory: a torch module that is a `SpeechEncoder`.

    Args:
        ctc_dir: The directory.
        front_end: Where the weights of its front end are now, if that trains; "": where they were.

    Raises:
        FileNotFoundError: It is not a finished CTC experiment.
        ValueError: It is an experiment of another kind, its weights do not fit its config, or the front end has other
            weights than those that it began with.
    """
    folder = Path(ctc_dir)
    for path in (folder / CONFIG_FILE, weights_path(folder)):
        if not path.is_file():
            raise MissingFileError(f"{path}: no trained CTC encoder there; run stage `ctc` to its end")
    settings = read_settings(folder)
    if not settings.get("num_units"):
        raise InputError(f"{folder / CONFIG_FILE}: no CTC experiment (no num_units); give the directory of stage `ctc`")
    choice = choose_encoder(settings, str(folder / CONFIG_FILE))
    if front_end:
        settings["frontend_conf"] = {**settings["frontend_conf"], "path": front_end}
    encoder = build_encoder(choice, settings["num_units"], recorded_format(settings, str(folder / CONFIG_FILE)))
    state = read_weights(folder)
    try:
        encoder.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{weights_path(folder)}: the weights do not fit {CONFIG_FILE} next to them: {error}"
        ) from error
    return encoder.eval()


def read_cmvn(path: str) -> tuple[Tensor, Tensor]:
    """Read mean and standard deviation of each feature (F,).

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path!r}: no feature statistics; run stage `statistics` or give --cmvn_file")
    mean, std = read_arrays(path, "mean", "std")
    return mean, std


def load_centroids(compressor: nn.Module, path: str) -> None:
    """Load the centroids of the compressor `units`; other compressors have none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Their number or width is not what the compressor expects.
    """
    if not isinstance(compressor, UnitCompressor):
        return
    if not Path(path).is_file():
        raise MissingFileError(f"{path!r}: no centroids of the units; run stage `compress` or give --centroids_file")
    (centroids,) = read_arrays(path, "centroids")
    try:
        compressor.codebook.set_centroids(centroids)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def base_fingerprint(network: SpeechLlama) -> bytes:
    """64 bytes that identify what a checkpoint is built on: the LLM's weights, and what of the rest never trains.

    That is the whole of a frozen encoder, the statistics of one that trains, and the centroids of units.
    """
    config, encoder = network.config, network.encoder
    frozen = {**(encoder.state_dict() if config.freeze_encoder else fixed_tensors(encoder))}
    frozen |= fixed_tensors(network.compressor)
    # A fully trained LLM is part of the checkpoint; where it started from no longer matters.
    llm = bytes(32) if config.llm.train == "full" else fingerprint(config.llm.path, config.llm.revision)
    return llm + digest_tensors(frozen)


def fixed_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module's state that are no parameters: its buffers."""
    parameters = dict(module.named_parameters())
    return {name: tensor for name, tensor in module.state_dict().items() if name not in parameters}


def digest_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """A SHA-256 digest of names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().cpu().numpy().tobytes())
    return digest.digest()


def describe_cache(encoder: nn.Module, compressor: nn.Module, choice: Choice[Compressor]) -> dict[str, Any]:
    """What the cache of compressed features depends on: compressor, its settings, encoder and, of units, centroids."""
    centroids = b"".join(tensor.cpu().numpy().tobytes() for tensor in compressor.state_dict().values())
    record = {"compressor": choice.record.name, "compressor_conf": choice.settings.cache_conf()}
    record["encoder"] = digest_tensors(encoder.state_dict()).hex()[:16]
    return {**record, **({"centroids": hashlib.sha256(centroids).hexdigest()[:16]} if centroids else {})}


def expected_cache(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what `describe_cache` returns for a system that is not built yet, from its settings."""
    choice = choose_compressor(settings, where)
    encoder = load_ctc_encoder(str(settings.get("ctc_dir") or ""))
    compressor = choice.build(encoder.dim)
    load_centroids(compressor, str(settings.get("centroids_file") or ""))
    return describe_cache(encoder, compressor, choice)
