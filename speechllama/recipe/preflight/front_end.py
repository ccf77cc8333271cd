"""Memory and time of a front end: in the jobs that compute features, and in a training, on top of the network after it.

PretrainedExtractor, or TrainedFrontEnd with a batch -> MemoryEstimate; seconds of a training step and of a forward pass
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechllama.constants import SAMPLE_RATE
from speechllama.frontend.front_ends import PretrainedExtractor
from speechllama.model.front_end import TrainedFrontEnd
from speechllama.model.meta_model import num_parameters
from speechllama.recipe.preflight.amounts import SECONDS_PER_CLIP
from speechllama.recipe.preflight.memory import (
    BYTES_TRAINED,
    FRAGMENTATION,
    RESERVE,
    BatchShape,
    MemoryEstimate,
    kept_bytes,
    precision,
)
from speechllama.recipe.preflight.speed import seconds_of


def front_end_weights(front_end: TrainedFrontEnd | None) -> MemoryEstimate:
    """Memory of a front end that only computes: its weights, in float32; nothing where it is no part of the network."""
    return MemoryEstimate(num_parameters(front_end.model) * 4.0 if front_end else 0.0, 0.0, 0.0, 0.0)


def extraction_memory(front_end: PretrainedExtractor, num_jobs: int) -> MemoryEstimate:
    """Memory of the jobs of stage features that share a card.

    What they compute is not counted: the stage halves a batch that does not fit.
    """
    return MemoryEstimate(float(num_jobs * front_end.weight_bytes("cuda")), 0.0, 0.0, num_jobs * RESERVE)


def front_end_memory(
    front_end: TrainedFrontEnd | None, batch: BatchShape, is_amp: bool, trains_encoder: bool
) -> MemoryEstimate:
    """Memory of a front end in the training of a network.

    A typical utterance is computed, since the encoder's input is made on the CPU.

    Args:
        front_end: The front end; None where it is no part of the network.
        batch: What one GPU gets of a batch.
        is_amp: ESPnet's `use_amp`.
        trains_encoder: Whether the encoder after it trains, and so does the front end.
    """
    if front_end is None or not trains_encoder:
        return front_end_weights(front_end)
    trained = num_parameters(front_end.model, trainable_only=True)
    frozen = num_parameters(front_end.model) - trained
    with precision(is_amp):
        kept = kept_bytes(lambda: front_end(*typical_speech(front_end)), front_end)
    return MemoryEstimate(frozen * 4.0, trained * BYTES_TRAINED, kept * batch.num_utterances * FRAGMENTATION, 0.0)


def front_end_seconds(front_end: TrainedFrontEnd, device: str) -> tuple[float, float]:
    """Seconds of the front end for a second of speech: in a training step, and in a forward pass only."""
    front_end.to(device)
    speech, lengths = typical_speech(front_end)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            states, _ = front_end(speech, lengths)
        states.float().square().mean().backward()

    @torch.no_grad()
    def pass_once() -> None:
        front_end(speech, lengths)

    times = seconds_of(step, device) / SECONDS_PER_CLIP, seconds_of(pass_once, device) / SECONDS_PER_CLIP
    front_end.zero_grad()
    front_end.to("cpu")
    return times


def typical_speech(front_end: TrainedFrontEnd) -> tuple[Tensor, Tensor]:
    """An utterance of noise (1, S, 1) and its length (1,), where the front end computes."""
    device = next(front_end.model.parameters()).device
    num_samples = round(SECONDS_PER_CLIP * SAMPLE_RATE)
    noise = np.random.default_rng(0).standard_normal((1, num_samples, 1)).astype(np.float32) * 0.1
    return torch.from_numpy(noise).to(device), torch.tensor([num_samples], device=device)
