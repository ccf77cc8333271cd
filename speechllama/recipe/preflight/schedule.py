"""Time of each stage on this machine: measured seconds of a batch, times the number of batches.

CheckedRun, trainings, amounts -> rows of stage, rate, time
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechllama.config import from_mapping
from speechllama.data.audio import read_audio
from speechllama.files import read_table
from speechllama.frontend.trainable import Waveform
from speechllama.llm.config import LLMConfig
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.model.meta_model import EncoderShape
from speechllama.recipe.options import Options
from speechllama.recipe.preflight.amounts import Amount
from speechllama.recipe.preflight.baselines import joint_search_seconds, rereading_seconds, seq2seq_seconds
from speechllama.recipe.preflight.front_end import front_end_seconds
from speechllama.recipe.preflight.memory import BatchShape, has_audio_encoder
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.speed import (
    audio_encoder_seconds,
    encoder_seconds,
    feature_seconds,
    forward_seconds,
    llm_seconds,
    seconds_of,
)
from speechllama.recipe.preflight.systems import PlannedTraining, own_head_shape

COMMON_VOICE_RATE = 48000  # Hz, of its newer releases' MP3
NUM_CLIPS = 5  # read to measure the time of reading
VALIDATION = 1 / 3  # of a training step: no backward pass


def estimate_times(
    run: CheckedRun, trainings: list[PlannedTraining], architecture: Any, amounts: Mapping[str, Amount]
) -> list[list[str]]:
    """Measure seconds per batch and multiply.

    Args:
        run: The run.
        trainings: Those whose YAML files build.
        architecture: Shape of the LLM.
        amounts: Speech by split; if it is empty, times are for an hour of speech.

    Returns:
        Rows: stage, what was measured, time.
    """
    known = bool(amounts)
    hour = Amount(720, 3600.0)
    train = amounts["train"] if known else hour
    others = [amounts[split] for split in ("dev", "test")] if known else []
    everything = train.seconds + sum(amount.seconds for amount in others)
    jobs = run.options.num_processes if run.options.ngpu else 1  # compression, decoding; on a CPU jobs share its cores
    # What an epoch costs, in training steps: validation has no backward pass.
    dev = amounts["dev"] if known else Amount(0, 0.0)
    speech_seconds = train.seconds + VALIDATION * dev.seconds
    seen = train.num_utterances + VALIDATION * dev.num_utterances
    rows: list[list[str]] = []

    rows.append(_features_row(run, everything))
    if run.layout.llm and run.uses_llm:
        rows.append(_own_llm_row(run, architecture))
    if run.plan.selection.system.freezes_encoder and run.layout.has_own_units:  # no CTC training
        forward = forward_seconds(own_head_shape(run), run.typical, run.device)
        rows.append(_row("compress", f"{1 / forward:.0f} x real time", everything * forward / jobs))
    for training in trainings:
        epochs = int(training.settings.get("max_epoch", 1))
        if training.seq2seq:
            step = seq2seq_seconds(training.seq2seq, training.batch, run.device) + _front_end_seconds(training, run)[0]
            total = speech_seconds * step * epochs / run.options.num_processes
            rows.append(_row("train", f"{1 / step:.0f} x real time", total))
            continue
        if training.network is None:
            assert training.encoder is not None
            parts = zip(
                encoder_seconds(training.encoder, training.batch, run.device),
                _front_end_seconds(training, run),
                strict=True,
            )
            step, forward = map(sum, parts)
            total = speech_seconds * step * epochs / run.options.num_processes
            rows.append(_row("ctc", f"{1 / step:.0f} x real time", total))
            rows.append(_row("compress", f"{1 / forward:.0f} x real time", everything * forward / jobs))
            continue
        step = _system_seconds(training, architecture, run)
        updates = seen / training.batch.num_utterances / run.options.num_processes
        rate = training.batch.num_utterances * training.batch.num_positions / step
        rows.append(_row(training.stage, f"{rate:,.0f} positions/s a process", updates * epochs * step))
    if run.plan.teacher and trainings and architecture:
        rows.append(_teaching_row(run, run.plan.teacher.options, architecture, train))
    if trainings:
        test, dev = (part_of(amount, run.options.subset) for amount in (amounts["test"] if known else hour, dev))
        rows += _decoding_rows(run, trainings[-1], architecture, test, dev)
    return rows


def _features_row(run: CheckedRun, seconds: float) -> list[str]:
    """Stage features: its jobs read side by side; those that share a GPU compute one after the other."""
    reading, jobs = reading_seconds(run.options.datadir), run.options.nj
    computing = feature_seconds(Waveform() if run.trained_front_end else run.front_end, run.device)
    on_gpu = run.device != "cpu" and run.plan.front_end.runs_on_gpu
    total = seconds * (reading + computing * (run.jobs_on_a_card if on_gpu else 1)) / jobs
    return _row("features", f"{1 / (reading + computing):.0f} x real time a process", total)


def part_of(amount: Amount, subset: int) -> Amount:
    """Give what `--subset` leaves of a set."""
    if not 0 < subset < amount.num_utterances:
        return amount
    return Amount(subset, amount.seconds * subset / amount.num_utterances)


def _decoding_rows(
    run: CheckedRun, training: PlannedTraining, architecture: Any, test: Amount, dev: Amount
) -> list[list[str]]:
    """Rows of the decode stage; a rescoring system also decodes dev, and its LLM reads the hypotheses.

    The LLM of a cascade reads a transcript in place of the audio, which takes about as many positions.
    """
    rows: list[list[str]] = []
    decoded = [test, dev] if run.plan.selection.rescoring else [test]
    jobs = run.options.num_processes if run.options.ngpu else 1
    shape = dataclasses.replace(
        run.decoded,
        num_utterances=run.options.batch_size,
        num_hypotheses=run.options.beam_size,
    )
    if training.seq2seq:
        search = joint_search_seconds(training.seq2seq, shape, run.options.beam_size, run.device)
        seconds = 2 * sum(amount.seconds for amount in decoded) * search  # the control, too
        rows.append(_row("decode", f"{1 / search:.0f} x real time", seconds / jobs))
    elif training.network is not None:
        _, prefix, token = llm_seconds(training.network.config.llm, architecture, shape, run.device)
        batch = prefix + shape.num_text * token
        num_batches = 2 * sum(amount.num_utterances for amount in decoded) / run.options.batch_size
        rows.append(
            _row(
                "decode",
                f"{shape.seconds / batch:.0f} x real time",
                num_batches * batch / jobs,
            )
        )
    if run.plan.selection.rescoring and architecture:
        reading = rereading_seconds(architecture, shape, run.device)
        num_texts = (2 * test.num_utterances + dev.num_utterances) * run.options.beam_size
        rows.append(_row("rescore", f"{1 / reading:,.0f} texts/s", num_texts * reading))
    if run.plan.selection.cascade and architecture:
        _, prefix, token = llm_seconds(LLMConfig(), architecture, shape, run.device)
        each = (prefix + shape.num_text * token) / run.options.batch_size
        rows.append(_row("translate", f"{1 / each:,.0f} texts/s", 2 * test.num_utterances * each))
    return rows


def _own_llm_row(run: CheckedRun, architecture: Any) -> list[str]:
    """Row of the llm stage of a recipe that trains its own LLM."""
    own = run.layout.llm
    assert own is not None
    settings = from_mapping(TextLLMConfig, own.settings, own.path)
    batch = BatchShape(num_utterances=settings.batch_size)
    step, _, _ = llm_seconds(LLMConfig(train="full"), architecture, batch, run.device)
    return _row("llm", f"{1 / step:.1f} updates/s", settings.num_steps * step)


def _teaching_row(run: CheckedRun, options: Options, architecture: Any, train: Amount) -> list[str]:
    """Row of a teacher that writes the texts of the training set."""
    shape = dataclasses.replace(run.decoded, num_utterances=options.batch_size, num_hypotheses=options.beam_size)
    _, prefix, token = llm_seconds(LLMConfig(), architecture, shape, run.device)
    batch = prefix + shape.num_text * token
    jobs = options.num_processes if options.ngpu else 1
    total = train.num_utterances / options.batch_size * batch / jobs
    return _row("teach", f"{shape.seconds / batch:.0f} x real time", total)


def _system_seconds(training: PlannedTraining, architecture: Any, run: CheckedRun) -> float:
    """Seconds of a training step of a speech LLM."""
    assert training.network is not None
    config, batch = training.network.config, training.batch
    step, prefix, _ = llm_seconds(config.llm, architecture, batch, run.device)
    if training.is_distilled:  # the teacher's pass, over the text too
        step += prefix * batch.num_positions / (batch.num_positions - batch.num_text)
    if not has_audio_encoder(training.network):
        return step  # embeddings in its place
    if training.encoder is None:  # E0 and D train their own
        own, _ = encoder_seconds(EncoderShape(config.encoder, 0, batch.features), batch, run.device)
        step += (own + _front_end_seconds(training, run)[0]) * batch.seconds
    dims = (training.network.encoder.dim, training.network.llm.dim)
    return step + audio_encoder_seconds(config.audio_encoder, *dims, batch, run.device)


def _front_end_seconds(training: PlannedTraining, run: CheckedRun) -> tuple[float, float]:
    """Seconds of the front end for a second of speech where it is a part of the network; see `front_end_seconds`."""
    return front_end_seconds(training.front_end, run.device) if training.front_end else (0.0, 0.0)


def reading_seconds(datadir: str) -> float:
    """Seconds to read a second of speech: of the first training clips, or, before the data stage, of an MP3."""
    place = Path(datadir) / "train"
    if not (place / "wav.scp").is_file() or not (place / "utt2dur").is_file():
        return mp3_seconds()
    durations = read_table(place / "utt2dur")
    places = [(path, durations.get(name)) for name, path in read_table(place / "wav.scp").items()][:NUM_CLIPS]
    clips = [(path, float(seconds)) for path, seconds in places if seconds and Path(path).is_file()]
    total = sum(seconds for _, seconds in clips)
    return seconds_of(lambda: [read_audio(path) for path, _ in clips], "cpu") / total if total else 0.0


def mp3_seconds() -> float:
    """Seconds to read a second of an MP3 at Common Voice's rate."""
    noise = np.random.default_rng(0).standard_normal(10 * COMMON_VOICE_RATE).astype(np.float32) * 0.1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.mp3"
        soundfile.write(path, noise, COMMON_VOICE_RATE, format="MP3")
        return seconds_of(lambda: read_audio(path), "cpu") / 10


def _row(stage: str, rate: str, seconds: float) -> list[str]:
    return [stage, rate, f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"]
