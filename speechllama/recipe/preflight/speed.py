"""Measure a few batches of each network: seconds per batch on this machine.

    networks of the true width with random weights, batches of the true shape -> seconds per batch on this machine

Of an LLM, one and two layers are measured and the others extrapolated, so LLaMA-7B need not be loaded.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from speechllama.constants import SAMPLE_RATE
from speechllama.frontend.front_ends import FeatureExtractor, Given, PretrainedExtractor
from speechllama.llm.architecture import causal_lm_class, running
from speechllama.llm.attention import choose_attention
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.llm.loading import choose_dtype
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.ctc_encoder import ctc_loss
from speechllama.model.layers import TransformerConfig
from speechllama.model.meta_model import EncoderShape
from speechllama.recipe.preflight.memory import BatchShape

NUM_RUNS = 2  # that count, after one that does not
CPU_FRAMES = (
    2000  # feature frames, at most, that are measured on a CPU; larger batches are taken to be slower in proportion
)
CPU_POSITIONS = 600  # LLM positions, likewise


def seconds_of(call: Callable[[], Any], device: str) -> float:
    """Return the time of the fastest of a few runs."""
    times = []
    for _ in range(NUM_RUNS + 1):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def feature_seconds(front_end: FeatureExtractor | Exception, device: str) -> float:
    """Seconds that one process needs for the features of a second of speech, without reading it.

    Nothing where there is no front end, or where it only checks features. One without weights computes on the CPU.
    """
    if isinstance(front_end, (Exception, Given)):
        return 0.0
    waveform = np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE).astype(np.float32) * 0.1
    if not isinstance(front_end, PretrainedExtractor) or device == "cpu":
        return seconds_of(lambda: front_end(waveform), "cpu") / 10
    seconds = seconds_of(lambda: front_end.to(device)(waveform), device) / 10
    front_end.to("cpu")  # what is estimated next needs the card
    return seconds


def encoder_seconds(shape: EncoderShape, batch: BatchShape, device: str) -> tuple[float, float]:
    """Seconds of an encoder for a second of speech: in a training step, and in a forward pass only."""
    if device == "cpu":
        batch = batch.of_frames(min(batch.num_utterances * batch.num_frames, CPU_FRAMES))
    encoder = shape.build().to(device)
    speech = torch.randn(batch.num_utterances, batch.num_frames, batch.features.dim, device=device)
    lengths = torch.full((batch.num_utterances,), batch.num_frames, device=device)
    units = torch.randint(1, max(2, shape.num_units), (batch.num_utterances, batch.num_text), device=device)
    unit_lengths = torch.full_like(lengths, batch.num_text)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            encoded = encoder(speech, lengths)
            by_ctc = shape.num_units > 0
            loss = ctc_loss(encoded, units, unit_lengths) if by_ctc else encoded.hidden.float().square().mean()
        loss.backward()

    @torch.no_grad()
    def pass_once() -> None:
        encoder(speech, lengths)

    return seconds_of(step, device) / batch.seconds, seconds_of(pass_once, device) / batch.seconds


def forward_seconds(shape: EncoderShape, batch: BatchShape, device: str) -> float:
    """Seconds of a frozen encoder for a second of speech."""
    encoder = shape.build().to(device)
    speech = torch.randn(batch.num_utterances, batch.num_frames, batch.features.dim, device=device)
    lengths = torch.full((batch.num_utterances,), batch.num_frames, device=device)
    with torch.no_grad():
        return seconds_of(lambda: encoder(speech, lengths), device) / batch.seconds


def llm_seconds(config: LLMConfig, architecture: Any, batch: BatchShape, device: str) -> tuple[float, float, float]:
    """Seconds of the LLM for such a batch: a training step, the prefix, and one decoding step of its utterances."""
    scale = 1.0
    if device == "cpu" and batch.num_utterances * batch.num_positions > CPU_POSITIONS:
        smaller = batch.of_positions(CPU_POSITIONS)
        scale = batch.num_utterances / smaller.num_utterances
        batch = smaller
    depth = architecture.num_hidden_layers
    one, two = (_shallow_seconds(config, architecture, layers, batch, device) for layers in (1, 2))
    step, prefix, token = (
        (first + (depth - 1) * max(0.0, second - first)) * scale for first, second in zip(one, two, strict=True)
    )
    return step, prefix, token


def _shallow_seconds(
    config: LLMConfig, architecture: Any, num_layers: int, batch: BatchShape, device: str
) -> tuple[float, float, float]:
    """The same for an LLM of so few layers."""
    from transformers import AutoModelForCausalLM

    shallow = copy.deepcopy(architecture)
    shallow.num_hidden_layers = num_layers
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = shallow.layer_types[:num_layers]
    dtype = torch.float32 if config.train == "full" else choose_dtype(config.dtype, device)
    attention = choose_attention(config.attention, causal_lm_class(shallow, config.path))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shallow, dtype=dtype, attn_implementation=attention)
    model = fill(model, device)
    llm = LLM(config, device, model).to(device).train()
    size, columns = batch.num_utterances, batch.num_positions
    embeddings = torch.randn(size, columns, llm.dim, device=device, dtype=dtype, requires_grad=True)
    positions = torch.arange(columns, device=device).expand(size, -1)
    seen = torch.ones(size, 1, columns, columns, device=device, dtype=torch.bool)
    labels = torch.zeros(size * (batch.num_text + 1), device=device, dtype=torch.long)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            logits = llm(embeddings, seen, positions, num_logits=batch.num_text + 1)
        nn.functional.cross_entropy(logits.float().flatten(0, 1), labels).backward()

    @torch.no_grad()
    def prefix(width: int) -> None:
        llm(embeddings[:, :width], seen[:, :, :width, :width], positions[:, :width], num_logits=1)

    with running(architecture):
        return (
            seconds_of(step, device),
            seconds_of(lambda: prefix(columns - batch.num_text), device),
            seconds_of(lambda: prefix(batch.num_hypotheses), device),  # each a column
        )


def fill(model: nn.Module, device: str) -> nn.Module:
    """Give a model of the meta device random weights on a device, without the minutes that initialisation takes.

    Args:
        model: Causal LM of transformers, made on the meta device.
        device: Where the weights go.
    """
    model = model.to_empty(device=device)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.02) if weight.dim() > 1 else weight.fill_(1.0)
    # Modules compute the buffers that no file holds (rotary frequencies).
    for module in model.modules():
        if "inv_freq" in module._buffers:
            fresh = type(module)(module.config)
            for name, buffer in fresh.named_buffers():
                module.get_buffer(name).copy_(buffer)
    return model


def audio_encoder_seconds(config: TransformerConfig, dim: int, llm_dim: int, batch: BatchShape, device: str) -> float:
    """Seconds of a training step of the audio encoder for such a batch."""
    rows = batch.num_utterances if device == "cuda" else min(batch.num_utterances, 16)
    encoder = AudioEncoder(config, dim, llm_dim, 1.0).to(device)
    vectors = torch.randn(rows, batch.num_audio, dim, device=device)
    lengths = torch.full((rows,), batch.num_audio, device=device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            loss = encoder(vectors, lengths).float().square().mean()
        loss.backward()

    return seconds_of(step, device) * batch.num_utterances / rows
