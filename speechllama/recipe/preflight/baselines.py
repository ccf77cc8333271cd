"""Memory and time of B1 and B2, estimated and measured before they run.

Seq2SeqShape, batch -> MemoryEstimate of training and decoding; seconds of a training step and of a decoded batch
shape of the LLM -> MemoryEstimate and seconds of rescoring
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from speechllama.decode.joint_search import JointSearchConfig, joint_search
from speechllama.decode.text_scorer import BATCH_TOKENS
from speechllama.feature_shape import FeatureShape, frames_to_stack, num_encoder_frames
from speechllama.llm.config import LLMConfig
from speechllama.model.meta_model import meta_llm, num_parameters
from speechllama.model.seq2seq import Seq2Seq, Seq2SeqConfig
from speechllama.recipe.preflight.memory import (
    BYTES_LOGIT,
    BYTES_TRAINED,
    FRAGMENTATION,
    RESERVE,
    BatchShape,
    MemoryEstimate,
    kept_bytes,
    precision,
    weight_bytes,
)
from speechllama.recipe.preflight.speed import CPU_FRAMES, llm_seconds, seconds_of

FORWARD = 1 / 2  # of a frozen LLM's training step: backward, its weights get no gradients


@dataclass(frozen=True)
class Seq2SeqShape:
    """What an encoder-decoder is built from.

    Attributes:
        config: Sizes.
        num_units: Units C, blank included.
        features: Shape of the features.
    """

    config: Seq2SeqConfig
    num_units: int
    features: FeatureShape = FeatureShape()

    def build(self) -> Seq2Seq:
        """Build it on the active device, or in the active mode."""
        from speechllama.train.seq2seq import make_parts  # imports ESPnet, which takes seconds

        return Seq2Seq(self.config, self.num_units, make_parts(self.config, self.num_units), self.features)

    def count(self) -> int:
        """Parameters."""
        with torch.device("meta"):
            return num_parameters(self.build())


def make_batch(shape: Seq2SeqShape, batch: BatchShape, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths of the features (B,), units (B, L) and their lengths (B,)."""
    lengths = torch.full((batch.num_utterances,), batch.num_frames, device=device)
    text = torch.randint(1, shape.num_units, (batch.num_utterances, batch.num_text), device=device)
    return lengths, text, torch.full_like(lengths, batch.num_text)


def seq2seq_activations(shape: Seq2SeqShape, batch: BatchShape, is_amp: bool) -> int:
    """Bytes kept by encoder, decoder and CTC head, their losses included."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = shape.build().train()
        network.spec_augment.eval()  # it draws random numbers and keeps nothing
        speech = torch.zeros(batch.num_utterances, batch.num_frames, shape.features.dim)
    # Outside the mode, so that these are real: ESPnet reads the lengths to make its masks.
    lengths, text, text_lengths = make_batch(shape, batch, "cpu")

    def forward() -> tuple[Tensor, ...]:
        memory = network.encode(speech, lengths)
        # What CTC's loss itself adds, (2 L + 1) numbers a frame, is small next to the log-probabilities.
        return memory.ctc_log_probs, *network.attend(memory, text, text_lengths)

    with precision(is_amp):
        return kept_bytes(forward, network)


def seq2seq_memory(shape: Seq2SeqShape, batch: BatchShape, is_amp: bool) -> MemoryEstimate:
    """Memory of training an encoder-decoder (stage `train`).

    Args:
        shape: Its sizes.
        batch: What one GPU gets of a batch.
        is_amp: ESPnet's `use_amp`.
    """
    kept = seq2seq_activations(shape, batch, is_amp)
    num_frames = num_encoder_frames(batch.num_frames, shape.features.frame_shift)
    num_logits = batch.num_utterances * (num_frames + batch.num_text + 1) * shape.num_units
    scratch = num_logits * BYTES_LOGIT * FRAGMENTATION + RESERVE
    return MemoryEstimate(0.0, shape.count() * BYTES_TRAINED, kept * FRAGMENTATION, scratch)


def joint_search_memory(shape: Seq2SeqShape, batch: BatchShape, beam_size: int) -> MemoryEstimate:
    """Memory of the joint search (stage `decode`): weights, keys and values, CTC's probabilities in 64 bits."""
    config, num_frames = shape.config, num_encoder_frames(batch.num_frames, shape.features.frame_shift)
    columns = num_frames + beam_size * 2 * batch.num_text  # twice the typical text
    kept = 2 * config.num_decoder_layers * config.dim * columns * 4 + num_frames * shape.num_units * 8
    # CTC's rows over the frames of every proposed unit, and the temporary rows from which they are summed.
    proposed = beam_size * max(JointSearchConfig.num_proposed, 2 * beam_size) * num_frames * 8 * 4
    layer = 4 * num_frames * (config.ffn_dim + config.num_heads * num_frames)  # the widest that a layer makes
    convolved = 4 * config.conv_channels * batch.num_frames * shape.features.dim / 4  # halved twice
    convolved = 0.0 if frames_to_stack(shape.features.frame_shift) else convolved
    scratch = batch.num_utterances * max(proposed, layer, 2 * convolved) * FRAGMENTATION + RESERVE
    return MemoryEstimate(shape.count() * 4.0, 0.0, batch.num_utterances * kept * FRAGMENTATION, scratch)


def rescoring_memory(architecture: Any, batch: BatchShape) -> MemoryEstimate:
    """Memory of an LLM that reads hypotheses (stage `decode` of B2): weights, and the logits of a batch of texts."""
    llm = meta_llm(LLMConfig(), architecture)
    num_logits = texts_of_batch(batch).num_utterances * (batch.num_text + 1) * architecture.vocab_size
    logits = num_logits * (llm.base_dtype.itemsize + 3 * 4)  # and in float32: a copy, and the loss' own two
    return MemoryEstimate(weight_bytes(llm), 0.0, 0.0, logits * FRAGMENTATION + RESERVE)


def texts_of_batch(batch: BatchShape) -> BatchShape:
    """The texts that the LLM reads at once."""
    text = BatchShape(num_prompt=batch.num_prompt, num_audio=0, num_text=batch.num_text)
    return text.of_positions(BATCH_TOKENS)


def fit_cpu(batch: BatchShape, device: str) -> BatchShape:
    """Reduce a batch to what is measured on a CPU."""
    if device != "cpu":
        return batch
    return batch.of_frames(min(batch.num_utterances * batch.num_frames, CPU_FRAMES))


def seq2seq_seconds(shape: Seq2SeqShape, batch: BatchShape, device: str) -> float:
    """Seconds of a training step for a second of speech."""
    batch = fit_cpu(batch, device)
    network = shape.build().to(device).train()
    speech = torch.randn(batch.num_utterances, batch.num_frames, shape.features.dim, device=device)
    lengths, text, text_lengths = make_batch(shape, batch, device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            loss = network(speech, lengths, text, text_lengths).loss
        loss.backward()

    return seconds_of(step, device) / batch.seconds


def joint_search_seconds(shape: Seq2SeqShape, batch: BatchShape, beam_size: int, device: str) -> float:
    """Seconds of the search for a second of speech, with texts of typical length."""
    batch = fit_cpu(batch, device)
    network = shape.build().to(device).eval()
    speech = torch.randn(batch.num_utterances, batch.num_frames, shape.features.dim, device=device)
    lengths, _, limits = make_batch(shape, batch, device)
    config = JointSearchConfig(beam_size)
    seconds = seconds_of(lambda: joint_search(network, speech, lengths, limits, config), device)
    return seconds / batch.seconds


def rereading_seconds(architecture: Any, batch: BatchShape, device: str) -> float:
    """Seconds that the LLM needs to read one hypothesis."""
    texts = texts_of_batch(batch)
    step, _, _ = llm_seconds(LLMConfig(), architecture, texts, device)
    return FORWARD * step / texts.num_utterances
