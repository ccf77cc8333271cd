"""The trainings of a run: build their YAML files, count parameters, estimate what they need.

CheckedRun, shape of the LLM -> PlannedTraining of CTC, of the first system, of the system
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from speechllama.config import from_mapping
from speechllama.constants import OWN_HEAD
from speechllama.faults import InputError
from speechllama.frontend.front_ends import PretrainedExtractor
from speechllama.llm.loading import check_quantization
from speechllama.model.encoders import Encoder, choose_encoder
from speechllama.model.front_end import TrainedFrontEnd
from speechllama.model.meta_model import EncoderShape, meta_encoder, meta_speech_llama, num_parameters
from speechllama.model.seq2seq import Seq2SeqConfig
from speechllama.model.speech_llama import SpeechLlama
from speechllama.recipe.preflight.baselines import Seq2SeqShape, joint_search_memory, rescoring_memory, seq2seq_memory
from speechllama.recipe.preflight.front_end import extraction_memory, front_end_memory, front_end_weights
from speechllama.recipe.preflight.memory import BatchShape, MemoryEstimate, ctc_memory, decoding_memory, training_memory
from speechllama.recipe.preflight.run import CheckedRun, read_settings
from speechllama.recipe.system import System, is_distilled
from speechllama.registry import Choice

DEFAULT_BINS = 1_000_000  # ESPnet's, where a YAML has no batch_bins


@dataclass(frozen=True)
class PlannedTraining:
    """One training.

    Attributes:
        stage: Name of its stage.
        path: Its YAML.
        settings: Its settings, overridden by options.
        batch: What one GPU gets of a batch.
        num_trained: Parameters that train.
        network: On the meta device; None for CTC and the encoder-decoder.
        encoder: The CTC encoder; None for E0, D and the encoder-decoder.
        seq2seq: The encoder-decoder; None for others.
        front_end: The part that makes features of waveforms; None where features are on disk.
    """

    stage: str
    path: str
    settings: Mapping[str, Any]
    batch: BatchShape
    num_trained: int
    network: SpeechLlama | None
    encoder: EncoderShape | None
    seq2seq: Seq2SeqShape | None = None
    front_end: TrainedFrontEnd | None = None

    @property
    def trains_encoder(self) -> bool:
        """Whether the encoder trains, and a front end that trains with it."""
        return self.network is None or not self.network.config.freeze_encoder

    @property
    def num_frozen(self) -> int:
        """Frozen parameters that its checkpoints have: those of the audio encoder, which no base holds."""
        if self.network is None:
            return 0
        part = self.network.audio_encoder
        return num_parameters(part) - num_parameters(part, trainable_only=True)

    @property
    def is_distilled(self) -> bool:
        """Whether its LLM also reads the transcripts, as a teacher."""
        return is_distilled(self.settings)

    @property
    def is_amp(self) -> bool:
        """Whether ESPnet computes in mixed precision."""
        return bool(self.settings.get("use_amp", False))

    def memory(self, architecture: Any) -> MemoryEstimate:
        """GPU memory of the training."""
        front_end = front_end_memory(self.front_end, self.batch, self.is_amp, self.trains_encoder)
        return self._network_memory(architecture).plus(front_end)

    def _network_memory(self, architecture: Any) -> MemoryEstimate:
        """GPU memory without the front end."""
        if self.seq2seq:
            return seq2seq_memory(self.seq2seq, self.batch, self.is_amp)
        if self.network is None:
            assert self.encoder is not None
            return ctc_memory(self.encoder, self.batch, self.is_amp)
        return training_memory(self.network, architecture, self.batch, self.is_amp, self.is_distilled)

    def describe(self, num_processes: int) -> str:
        """Say what an update sees."""
        bins = f"{int(self.settings.get('batch_bins', DEFAULT_BINS)):,}"
        kind = "feature values" if self.network is None else "LLM positions"
        accumulated = int(self.settings.get("accum_grad", 1))
        total = self.batch.num_utterances * num_processes * accumulated
        return (
            f"stage {self.stage}, {self.path}: an update sees {bins} {kind} x {accumulated} (accum_grad), shared by "
            f"{num_processes} processes: about {total} utterances of 5 s; {self.num_trained:,} parameters train"
        )


def find_trainings(run: CheckedRun, architecture: Any, faults: list[str]) -> list[PlannedTraining]:
    """Build every network of the run without its weights.

    Args:
        run: The run.
        architecture: Shape of the LLM; None if it is not known.
        faults: Gets a line for each YAML that does not build.
    """
    system = run.plan.selection.system
    if system.is_seq2seq:
        try:
            return [seq2seq_training(run)]
        except ValueError as error:
            faults.append(str(error))
            return []
    trainings: list[PlannedTraining] = []
    encoder: EncoderShape | None = None
    if system.freezes_encoder and run.layout.has_own_units:
        encoder = own_head_shape(run)
    elif system.freezes_encoder:
        encoder = encoder_shape(run, choose_encoder({}, ""), run.layout.units)  # used if its own YAML is wrong
        try:
            training = ctc_training(run)
            encoder = training.encoder
            trainings.append(training)
        except ValueError as error:
            faults.append(str(error))
    stages = [("train", system.init), ("lora", system)] if system.init else [("train", system)]
    for stage, each in stages if run.uses_llm and not system.is_ctc else []:
        try:
            trainings.append(system_training(run, stage, each, architecture, encoder))
        except ValueError as error:
            faults.append(str(error))
    return trainings


def ctc_training(run: CheckedRun) -> PlannedTraining:
    """Training of the CTC encoder."""
    path, units = run.layout.ctc.path, run.layout.units
    settings = read_settings(run.layout.ctc, run.options.ctc_options, "ctc")
    shape = encoder_shape(run, choose_encoder(settings, path), units)
    batch = run.typical.of_bins(bins_of_process(run, settings))
    trained = num_parameters(meta_encoder(shape), trainable_only=True)
    if not trained:
        raise InputError(f"{path}: the encoder {shape.choice.record.name} has nothing to train; choose another encoder")
    trained += front_end_trains(run)
    front_end = run.trained_front_end
    return PlannedTraining("ctc", path, settings, batch, trained, None, shape, front_end=front_end)


def seq2seq_training(run: CheckedRun) -> PlannedTraining:
    """Training of an encoder-decoder."""
    system = run.plan.selection.system.config
    settings = read_settings(system, run.options.train_options, "seq2seq")
    config = from_mapping(Seq2SeqConfig, settings.get("network_conf") or {}, f"{system.path}: network_conf")
    shape = Seq2SeqShape(config, run.layout.units + 1, run.features.shape)
    batch = run.typical.of_bins(bins_of_process(run, settings))
    trained = shape.count() + front_end_trains(run)
    return PlannedTraining("train", system.path, settings, batch, trained, None, None, shape, run.trained_front_end)


def front_end_trains(run: CheckedRun) -> int:
    """Count the parameters of the front end that train with the encoder."""
    front_end = run.trained_front_end
    return num_parameters(front_end.model, trainable_only=True) if front_end else 0


def encoder_shape(run: CheckedRun, choice: Choice[Encoder], num_units: int = 0) -> EncoderShape:
    """An encoder of what the run's front end writes."""
    return EncoderShape(choice, num_units, run.features.shape)


def own_head_shape(run: CheckedRun) -> EncoderShape:
    """The front end's own CTC head; of one unit if the front end cannot be built, which `check_front_end` reports."""
    head = getattr(run.front_end, "ctc_head", None)
    return encoder_shape(run, choose_encoder({"encoder": OWN_HEAD}, ""), len(head.weight) if head else 1)


def bins_of_process(run: CheckedRun, settings: Mapping[str, Any]) -> int:
    """What one process gets of a batch, in the batch's own unit."""
    return int(settings.get("batch_bins", DEFAULT_BINS)) // run.options.num_processes


def system_training(
    run: CheckedRun, stage: str, system: System, architecture: Any, encoder: EncoderShape | None
) -> PlannedTraining:
    """Training of a speech LLM.

    Args:
        run: The run.
        stage: Name of its stage.
        system: The system that it trains.
        architecture: Shape of the LLM; None if it is not known.
        encoder: The frozen CTC encoder; None for a system that trains an encoder of its own.

    Raises:
        ValueError: The YAML is wrong, or does not fit this LLM or this machine.
    """
    path = system.config.path
    settings = read_settings(system.config, run.options.train_options, "system")
    if architecture is None:
        raise InputError(f"{path}: cannot be built before the LLM is there")
    network = meta_speech_llama({**settings, **dataclasses.asdict(run.features)}, path, architecture, encoder)
    if run.launcher == "local":
        try:
            check_quantization(network.config.llm, run.device)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    typical, ratio = run.typical, system.compressor.frames_per_vector
    if ratio:
        used = encoder if encoder and system.freezes_encoder else encoder_shape(run, network.config.encoder)
        typical = dataclasses.replace(typical, num_audio=-(-used.num_frames(typical.num_frames) // ratio))
    if system.scratch_llm:
        typical = dataclasses.replace(typical, num_prompt=1)  # only the start token
    trained = num_parameters(network, trainable_only=True)
    trained += 0 if network.config.freeze_encoder else front_end_trains(run)
    if not trained:
        raise InputError(
            f"{path}: nothing is left to train: train_audio_encoder is false and the LLM is frozen; free one of them"
        )
    batch = typical.of_positions(bins_of_process(run, settings))
    front_end = run.trained_front_end
    return PlannedTraining(stage, path, settings, batch, trained, network, encoder, front_end=front_end)


def check_gpu(
    run: CheckedRun, trainings: list[PlannedTraining], architecture: Any, faults: list[str]
) -> list[list[str]]:
    """Compare the memory of features, of each training and of decoding with the card's.

    Args:
        run: The run.
        trainings: Those whose YAML files build.
        architecture: Shape of the LLM.
        faults: Gets a line for each thing that does not fit.

    Returns:
        Rows: purpose, frozen weights, trained with optimizer, activations, scratch, total, in GB.
    """
    card = 0.0
    ngpu = run.options.ngpu
    if ngpu and run.launcher == "local" and torch.cuda.is_available():  # a cluster has other cards
        card = float(torch.cuda.get_device_properties(0).total_memory)
        if torch.cuda.device_count() < ngpu:
            faults.append(f"--ngpu {ngpu}: torch finds {torch.cuda.device_count()} GPUs here")
    elif ngpu and run.launcher == "local":
        faults.append(f"--ngpu {ngpu}: torch finds no GPU here; take --ngpu 0, or see tools/check_install.py")
    if not ngpu:
        return []
    needs = feature_needs(run)
    needs += [(f"stage {training.stage}, {training.path}", training.memory(architecture)) for training in trainings]
    needs += decoding_needs(run, trainings, architecture)
    for what, memory in needs:
        if card and memory.total > card:
            faults.append(
                f"{what}: about {memory.total / 1e9:.1f} GB of GPU memory, the card has {card / 1e9:.1f}: "
                "smaller batch_bins with more accum_grad, llm_conf: gradient_checkpointing or quantize; "
                "for decoding a smaller --batch_size, for features a smaller --nj"
            )
    return [[what, *memory_cells(memory)] for what, memory in needs]


def feature_needs(run: CheckedRun) -> list[tuple[str, MemoryEstimate]]:
    """GPU memory of stage features; nothing where it is finished or uses none."""
    if "features" in run.finished or not run.plan.front_end.runs_on_gpu:
        return []
    if not isinstance(run.front_end, PretrainedExtractor):
        return []
    jobs = run.jobs_on_a_card
    return [(f"stage features, {jobs} jobs on a GPU", extraction_memory(run.front_end, jobs))]


def decoding_needs(
    run: CheckedRun, trainings: list[PlannedTraining], architecture: Any
) -> list[tuple[str, MemoryEstimate]]:
    """GPU memory of the decode stage: of decoding and, for a rescoring system, of the LLM that reads hypotheses."""
    needs = []
    batch_size, beam_size = run.options.batch_size, run.plan.search.num_hypotheses
    batch = dataclasses.replace(run.decoded, num_utterances=batch_size)
    last = trainings[-1] if trainings else None
    kind = "samples" if run.plan.search.num_samples else "beam"
    what = f"stage decode, {batch_size} utterances, {kind} {beam_size}"
    if last and last.seq2seq:
        memory = joint_search_memory(last.seq2seq, batch, beam_size)
        needs.append((what, memory.plus(front_end_weights(last.front_end))))
    elif last and last.network:
        memory = decoding_memory(last.network, architecture, batch, beam_size)
        needs.append((what, memory.plus(front_end_weights(last.front_end))))
    if run.plan.selection.rescoring and architecture:
        needs.append(("stage decode, rescoring", rescoring_memory(architecture, batch)))
    return needs


def memory_cells(memory: MemoryEstimate) -> list[str]:
    """Gigabytes of a row."""
    parts = (memory.weights, memory.trained, memory.activations, memory.scratch, memory.total)
    return [f"{part / 1e9:.1f}" for part in parts]
