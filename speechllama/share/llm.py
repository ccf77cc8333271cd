"""The LLM of a trained experiment, for programs that know nothing of speech.

exp/<system>/ -> adapters in peft's form, or the LLM with them merged in, as a Hugging Face directory
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechllama.decode.experiment import NETWORK, load_experiment, read_settings
from speechllama.faults import InputError
from speechllama.files import read_json
from speechllama.llm.adapter_files import Base, write_adapter
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.loading import choose_dtype, load_causal_lm
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.model.build import CONFIG_FILE, speech_llama_config
from speechllama.model.checkpoint import FINGERPRINT
from speechllama.model.meta_model import meta_llm, read_architecture
from speechllama.model.weights import read_weights, weights_path
from speechllama.share.folders import new_folder

LLM_PART = f"{NETWORK}llm."  # prefix of the LLM in a checkpoint


@dataclass(frozen=True)
class TrainedLLM:
    """What an experiment did to its LLM.

    Attributes:
        folder: The experiment.
        config: Which LLM, and what of it was trained.
        base: The LLM that the experiment began with.
        tensors: What the checkpoint holds of the LLM, by its own names; nothing of a frozen one.
    """

    folder: Path
    config: LLMConfig
    base: Base
    tensors: dict[str, Tensor]


def read_trained_llm(exp_dir: str | Path) -> TrainedLLM:
    """Read from an experiment what it did to its LLM; the LLM itself is not loaded.

    Args:
        exp_dir: Experiment at stage `average` or later.

    Raises:
        FileNotFoundError: It is not a finished experiment.
        ValueError: Its LLM is frozen, or was exchanged since.
    """
    folder = Path(exp_dir)
    settings = read_settings(folder)
    where = str(folder / CONFIG_FILE)
    if not settings.get("llm_dir"):
        raise InputError(f"{where}: this system has no LLM; only the LLM of a speech LLM can be exported")
    config = speech_llama_config(settings, where).llm
    if config.train == "frozen":
        raise InputError(
            f"{where}: the LLM is frozen (llm_conf: train: frozen): it is {config.path}, unchanged. Export a system "
            "whose LLM was trained, such as E4, E6 or U"
        )
    record = read_json(Path(settings["llm_dir"]) / LLM_FILE)
    base = Base(*read_llm_record(settings["llm_dir"]), str(record.get("fingerprint", "")))
    state = read_weights(folder)
    trained_on = bytes(int(value) for value in state[f"{NETWORK}{FINGERPRINT}"][:32]).hex()
    if config.train == "lora" and trained_on != base.fingerprint:
        raise InputError(f"{weights_path(folder)}: trained on another LLM than {base.path}, which {where} names")
    tensors = {name.removeprefix(LLM_PART): tensor for name, tensor in state.items() if name.startswith(LLM_PART)}
    return TrainedLLM(folder, config, base, tensors)


def export_adapter(exp_dir: str | Path, output: str | Path) -> None:
    """Write the adapters of an experiment for `PeftModel.from_pretrained`, on the LLM as it was before training.

    Args:
        exp_dir: Experiment at stage `average` or later.
        output: Directory, new or empty.

    Raises:
        FileNotFoundError, ValueError: As `read_trained_llm`; the LLM has no adapters; they are not those of a model
            that peft finds; or the directory holds something.
    """
    trained = read_trained_llm(exp_dir)
    _check_has_adapters(trained)
    _check_is_text_model(trained)
    with new_folder(output) as folder:
        _write_adapter(trained, folder)
    logging.info("%s: adapters of %s", output, trained.base.path)


def export_merged_llm(exp_dir: str | Path, output: str | Path, dtype: str = "auto") -> None:
    """Write the LLM as training left it, with its tokenizer, for `AutoModelForCausalLM.from_pretrained`.

    Adapters are merged in float32, whatever the LLM's own precision, since an update may be smaller than half a step of
    bfloat16.

    Args:
        exp_dir: Experiment at stage `average` or later.
        output: Directory, new or empty.
        dtype: Of the weights written: a torch dtype's name, or `auto`, that of the original LLM.

    Raises:
        FileNotFoundError, ValueError: As `read_trained_llm`; or the directory holds something.
    """
    trained = read_trained_llm(exp_dir)
    recorded = read_architecture(trained.base.path, trained.base.revision).dtype or torch.float32
    kind = recorded if dtype == "auto" else choose_dtype(dtype, "cpu")
    with new_folder(output) as folder:
        model = load_experiment(exp_dir).network.llm.model if trained.config.train == "full" else _merge(trained)
        model.to(kind).save_pretrained(folder)
        load_tokenizer(trained.base.path, trained.base.revision).save_pretrained(folder)
    logging.info("%s: %s with what %s trained, %s", output, trained.base.path, trained.folder, kind)


def _write_adapter(trained: TrainedLLM, folder: Path) -> None:
    shape = meta_llm(trained.config, read_architecture(trained.base.path, trained.base.revision))
    write_adapter(folder, shape, trained.tensors, trained.base)


def _merge(trained: TrainedLLM) -> Any:
    """The original LLM with the adapters in its weights, float32; through peft, from what `export_adapter` writes."""
    from peft import PeftModel

    model = load_causal_lm(LLMConfig(trained.base.path, trained.base.revision, dtype="float32"), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        _write_adapter(trained, Path(folder))
        merged: Any = PeftModel.from_pretrained(model, folder)
    return merged.merge_and_unload(safe_merge=True)  # which refuses weights that are no numbers


def _check_has_adapters(trained: TrainedLLM) -> None:
    if trained.config.train == "full":
        raise InputError(
            f"{trained.folder / CONFIG_FILE}: llm_conf: train: full: all weights were trained, and there are no "
            "adapters. Export the LLM itself: --merged_llm DIR"
        )


def _check_is_text_model(trained: TrainedLLM) -> None:
    """Refuse adapters of a part of a model: peft would look for their layers in the whole."""
    from transformers import AutoConfig

    whole = AutoConfig.from_pretrained(trained.base.path, revision=trained.base.revision)
    text = read_architecture(trained.base.path, trained.base.revision)
    if type(whole) is not type(text):
        raise InputError(
            f"{trained.base.path}: the adapters are of the text part ({text.model_type}) of a {whole.model_type} "
            "model, in which peft would not find their layers. Export the text LLM with them merged in: "
            "--merged_llm DIR"
        )
