"""What a new training starts from: an earlier experiment, the LLM's embeddings, somebody's adapters, or random weights.

network with fresh weights, settings of a training -> the same network, with the weights that it starts from
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json
from speechllama.llm.adapter_files import SETTINGS_FILE, Base, adapter_fingerprint, load_adapter
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.llm.spelling import spell
from speechllama.model.build import MODEL_FILE, read_settings
from speechllama.model.checkpoint import FINGERPRINT
from speechllama.model.posteriors import PosteriorEmbedding, embed_units
from speechllama.model.speech_llama import SpeechLlama
from speechllama.model.weights import read_weights
from speechllama.text.checkpoint_units import read_units
from speechllama.train.embedding_start import find_head, start_at_embeddings
from speechllama.train.options import STARTS
from speechllama.train.same_settings import recorded_settings


def start_network(network: SpeechLlama, args: argparse.Namespace) -> str:
    """Give a network the weights that it starts from; a training that resumes has its own in its checkpoint.

    Args:
        network: With fresh weights, on the CPU.
        args: The settings of the training.

    Returns:
        A fingerprint of the adapters that it starts from, for config.yaml; "" without any.

    Raises:
        FileNotFoundError, ValueError: What it should start from is not there, or does not fit.
    """
    if isinstance(network.audio_encoder, PosteriorEmbedding):  # checkpoints have its table from then on
        network.audio_encoder.set_table(spell_units(str(args.ctc_dir), str(args.llm_dir)), network.llm)
    if args.init_from:
        start_from(network, Path(args.init_from))
    elif args.audio_encoder_start == STARTS[1] and not recorded_settings(args):
        start_at_words(network, args)
    return start_from_adapter(network, args)


def spell_units(ctc_dir: str, llm_dir: str) -> list[list[int]]:
    """Find the LLM's tokens of each CTC unit, of blank the first.

    Args:
        ctc_dir: CTC experiment, whose config.yaml names the units' tokenizer.
        llm_dir: Prepared LLM, whose tokenizer reads the texts.

    Raises:
        FileNotFoundError, ValueError: The units' tokenizer is not there, or is another one; no unit has a text.
    """
    units = read_units(str(read_settings(ctc_dir)["tokenizer"]))
    tokenizer = load_tokenizer(*read_llm_record(llm_dir))
    spelling = [spell(text, tokenizer) for text in units.texts]
    num_tokens = [len(tokens) for tokens in spelling if tokens]
    if not num_tokens:
        raise InputError(f"{units.path}: the LLM of {llm_dir} has tokens for none of the CTC units; choose another LLM")
    logging.info(
        "%d of %d CTC units have tokens of the LLM, %.2f on average; the others, such as blank, are embedded as zero",
        len(num_tokens), len(spelling), sum(num_tokens) / len(num_tokens),
    )  # fmt: skip
    return spelling


def start_at_words(network: SpeechLlama, args: argparse.Namespace) -> None:
    """Start an audio encoder that reads CTC states at the LLM's embeddings; another one starts at random.

    Raises:
        FileNotFoundError, ValueError: As `spell_units` and `start_at_embeddings`.
    """
    head = find_head(network)
    if head is None:
        logging.info("audio_encoder_start: embeddings needs vectors of a frozen CTC encoder; the start is random here")
        return
    spelling = spell_units(str(args.ctc_dir), str(args.llm_dir))
    table = embed_units(spelling, network.llm, head.out_features)
    device = "cuda" if args.ngpu > 0 else "cpu"
    start_at_embeddings(network, table, args.train_data_path_and_name_and_type, device, args.seed)


def start_from(network: SpeechLlama, experiment: Path) -> None:
    """Take over everything an earlier experiment trained; what is new here (LoRA) stays fresh.

    Raises:
        FileNotFoundError: The experiment has no averaged weights.
        ValueError: It is built on another base, or has parts this network lacks.
    """
    path = experiment / MODEL_FILE
    if not path.is_file():
        raise MissingFileError(f"{path}: --init_from needs a finished experiment; train it and average its epochs")
    state = {name.removeprefix("network."): tensor for name, tensor in read_weights(experiment).items()}
    own_base = network.get_buffer(FINGERPRINT)
    if not torch.equal(state.pop(FINGERPRINT, own_base.new_empty(0)), own_base):
        raise InputError(f"{path}: trained on another LLM or CTC encoder than the ones given; train it again on these")
    own = dict(network.named_parameters())
    unknown = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
    if unknown:
        raise InputError(f"{path}: {len(unknown)} tensors do not fit this config, first {unknown[:5]}")
    network.load_state_dict({**network.state_dict(), **state})
    logging.info("started from %s: %d tensors", path, len(state))


def start_from_adapter(network: SpeechLlama, args: argparse.Namespace) -> str:
    """Start the LLM's adapters from somebody's; a training that resumes has them in its checkpoint.

    Args:
        network: With fresh adapters.
        args: The settings of the training.

    Returns:
        A fingerprint of the adapters, for config.yaml; "" without any.

    Raises:
        FileNotFoundError, ValueError: There are none, or they do not fit.
    """
    if not args.init_adapter:
        return ""
    folder, recorded = Path(args.init_adapter), recorded_settings(args)
    if recorded:
        is_there = (folder / SETTINGS_FILE).is_file()
        return adapter_fingerprint(folder) if is_there else str(recorded.get("init_adapter_fingerprint", ""))
    if network.config.llm.train != "lora":
        raise InputError(
            f"{args.config}: --init_adapter {folder} needs llm_conf: train: lora, found {network.config.llm.train}"
        )
    base = Base(*read_llm_record(args.llm_dir), str(read_json(Path(args.llm_dir) / LLM_FILE).get("fingerprint", "")))
    load_adapter(folder, network.llm, base)
    return adapter_fingerprint(folder)
