"""The trainings of a run: do their YAML files build, what does an update see, what do they need.

Plan, shape of the LLM -> Training of CTC, of the first system, of the system
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from speechllama.config import from_mapping
from speechllama.constants import NUM_MELS, SUBSAMPLING
from speechllama.llm.loading import check_quantization
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.meta_model import meta_speech_llama, num_parameters
from speechllama.model.seq2seq import Seq2SeqConfig
from speechllama.model.speech_llama import SpeechLlama
from speechllama.recipe.preflight.baselines import Seq2SeqShape, joint_search_memory, rescoring_memory, seq2seq_memory
from speechllama.recipe.preflight.memory import BatchShape, Memory, ctc_memory, decoding_memory, training_memory
from speechllama.recipe.preflight.plan import Plan, read_settings

USUAL = BatchShape()
DEFAULT_BINS = 1_000_000  # the host's, where a YAML has no batch_bins


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        stage: Number of its stage.
        path: Its YAML.
        settings: Its settings, with the options that override them.
        batch: What one GPU gets of a batch.
        num_trained: Parameters that train.
        network: On the meta device; None for CTC and the encoder-decoder.
        encoder: CTC encoder and its units; None for E0, D and the encoder-decoder.
        seq2seq: The encoder-decoder; None for others.
    """

    stage: int
    path: str
    settings: Mapping[str, Any]
    batch: BatchShape
    num_trained: int
    network: SpeechLlama | None
    encoder: tuple[CTCEncoderConfig, int] | None
    seq2seq: Seq2SeqShape | None = None

    @property
    def is_amp(self) -> bool:
        """Whether the host computes in mixed precision."""
        return bool(self.settings.get("use_amp", False))

    def memory(self, architecture: Any) -> Memory:
        """What it takes of a GPU."""
        if self.seq2seq:
            return seq2seq_memory(self.seq2seq, self.batch, self.is_amp)
        if self.network is None:
            assert self.encoder is not None
            return ctc_memory(*self.encoder, self.batch, self.is_amp)
        return training_memory(self.network, architecture, self.batch, self.is_amp)

    def describe(self, num_processes: int) -> str:
        """What an update sees."""
        bins = f"{int(self.settings.get('batch_bins', DEFAULT_BINS)):,}"
        kind = "feature values" if self.network is None else "LLM positions"
        accumulated = int(self.settings.get("accum_grad", 1))
        total = self.batch.num_utterances * num_processes * accumulated
        return (
            f"stage {self.stage}, {self.path}: an update sees {bins} {kind} x {accumulated} (accum_grad), shared by "
            f"{num_processes} processes: about {total} utterances of 5 s; {self.num_trained:,} parameters train"
        )


def find_trainings(plan: Plan, architecture: Any, faults: list[str]) -> list[Training]:
    """Build every network of the run without its weights; YAML files that do not build join the faults.

    Args:
        plan: The run.
        architecture: Shape of the LLM; None if it is not known.
        faults: What is wrong.
    """
    if plan.is_seq2seq:
        try:
            return [seq2seq_training(plan)]
        except (FileNotFoundError, ValueError) as error:
            faults.append(str(error))
            return []
    trainings: list[Training] = []
    encoder: tuple[CTCEncoderConfig, int] | None = (CTCEncoderConfig(), plan.ctc_units)  # where its own YAML is wrong
    try:
        training = ctc_training(plan)
        encoder = training.encoder
        trainings.append(training)
    except (FileNotFoundError, ValueError) as error:
        faults.append(str(error))
    stages = [(8, plan.init_config), (9, plan.system_config)] if plan.init_config else [(8, plan.system_config)]
    for stage, path in stages if plan.needs_llm else []:
        try:
            trainings.append(system_training(plan, stage, path, architecture, encoder))
        except (FileNotFoundError, ValueError) as error:
            faults.append(str(error))
    if any(training.network is not None and not training.network.config.freeze_encoder for training in trainings):
        trainings = [training for training in trainings if training.stage != 5]  # E0 and D have no CTC
    return trainings


def ctc_training(plan: Plan) -> Training:
    """Stage 5."""
    settings = read_settings(plan.ctc_config, plan.ctc_options, "ctc")
    where = f"{plan.ctc_config}: encoder_conf"
    config = from_mapping(CTCEncoderConfig, settings.get("encoder_conf") or {}, where)
    bins = int(settings.get("batch_bins", DEFAULT_BINS)) // plan.num_processes
    trained = num_ctc_parameters(config, plan.ctc_units)
    encoder = (config, plan.ctc_units)
    return Training(5, plan.ctc_config, settings, USUAL.of_bins(bins, NUM_MELS), trained, None, encoder)


def seq2seq_training(plan: Plan) -> Training:
    """Stage 8 of an encoder-decoder."""
    settings = read_settings(plan.system_config, plan.train_options, "seq2seq")
    where = f"{plan.system_config}: network_conf"
    config = from_mapping(Seq2SeqConfig, settings.get("network_conf") or {}, where)
    shape = Seq2SeqShape(config, plan.ctc_units + 1)
    batch = USUAL.of_bins(int(settings.get("batch_bins", DEFAULT_BINS)) // plan.num_processes, NUM_MELS)
    return Training(8, plan.system_config, settings, batch, shape.count(), None, None, shape)


def num_ctc_parameters(config: CTCEncoderConfig, num_units: int) -> int:
    """Parameters of CTC training."""
    with torch.device("meta"):
        return num_parameters(CTCEncoder(config, num_units))


def system_training(
    plan: Plan, stage: int, path: str, architecture: Any, encoder: tuple[CTCEncoderConfig, int] | None
) -> Training:
    """Stage 8 or 9.

    Raises:
        FileNotFoundError, ValueError: The YAML is wrong, or does not fit this LLM or this machine.
    """
    settings = read_settings(path, plan.train_options, "system")
    if architecture is None:
        raise ValueError(f"{path}: cannot be built before the LLM is there")
    network = meta_speech_llama(settings, path, architecture, encoder)
    trained_encoder = encoder if network.config.freeze_encoder else None
    if plan.launcher == "local":
        try:
            check_quantization(network.config.llm, plan.device)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    usual = USUAL
    frames_per_vector = network.config.compressor.record.frames_per_vector
    if frames_per_vector is not None:
        usual = dataclasses.replace(usual, num_audio=-(-USUAL.num_frames // SUBSAMPLING // frames_per_vector))
    if settings.get("scratch_llm"):  # its prompt is the start token
        usual = dataclasses.replace(usual, num_prompt=1)
    bins = int(settings.get("batch_bins", DEFAULT_BINS)) // plan.num_processes
    trained = num_parameters(network, trainable_only=True)
    return Training(stage, path, settings, usual.of_positions(bins), trained, network, trained_encoder)


def check_gpu(plan: Plan, trainings: list[Training], architecture: Any, faults: list[str]) -> list[list[str]]:
    """Hold the memory of each training, and of decoding, against the card.

    Args:
        plan: The run.
        trainings: Those that build.
        architecture: Shape of the LLM.
        faults: What does not fit joins them.

    Returns:
        Rows: what, frozen weights, trained with optimizer, activations, scratch, total, in GB.
    """
    card = 0.0
    if plan.ngpu and plan.launcher == "local" and torch.cuda.is_available():  # a cluster's cards are not this one
        card = float(torch.cuda.get_device_properties(0).total_memory)
        if torch.cuda.device_count() < plan.ngpu:
            faults.append(f"--ngpu {plan.ngpu}: torch finds {torch.cuda.device_count()} GPUs here")
    elif plan.ngpu and plan.launcher == "local":
        faults.append(f"--ngpu {plan.ngpu}: torch finds no GPU here; take --ngpu 0, or see tools/check_install.py")
    if not plan.ngpu:
        return []
    needs = [(f"stage {training.stage}, {training.path}", training.memory(architecture)) for training in trainings]
    needs += decoding_needs(plan, trainings, architecture)
    for what, memory in needs:
        if card and memory.total > card:
            faults.append(
                f"{what}: about {memory.total / 1e9:.1f} GB of GPU memory, the card has {card / 1e9:.1f}: "
                "smaller batch_bins with more accum_grad, llm_conf: gradient_checkpointing or quantize; "
                "for decoding a smaller --batch_size"
            )
    return [[what, *memory_cells(memory)] for what, memory in needs]


def decoding_needs(plan: Plan, trainings: list[Training], architecture: Any) -> list[tuple[str, Memory]]:
    """What stage 11 takes of a GPU: decoding and, of a rescoring system, the LLM that reads the hypotheses."""
    needs = []
    batch, last = BatchShape(num_utterances=plan.batch_size), trainings[-1] if trainings else None
    what = f"stage 11, {plan.batch_size} utterances, beam {plan.beam_size}"
    if last and last.seq2seq:
        needs.append((what, joint_search_memory(last.seq2seq, batch, plan.beam_size)))
    elif last and last.network:
        needs.append((what, decoding_memory(last.network, architecture, batch, plan.beam_size)))
    if plan.rescore_config and architecture:
        needs.append(("stage 11, rescoring", rescoring_memory(architecture, batch)))
    return needs


def memory_cells(memory: Memory) -> list[str]:
    """Gigabytes of a row."""
    parts = (memory.weights, memory.trained, memory.activations, memory.scratch, memory.total)
    return [f"{part / 1e9:.1f}" for part in parts]
