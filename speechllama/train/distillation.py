"""Token-level distillation: the LLM reads the transcript as text, and the system learns to choose as it does.

[prompt ; transcript ; suffix ; text] -> LLM without adapters -> logits (B, L + 1, V)
  -> KL divergence of the logits of [prompt ; audio ; suffix ; text] from them, beside the cross-entropy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from speechllama.config import from_mapping
from speechllama.faults import InputError
from speechllama.llm.config import LLMConfig
from speechllama.model.audio import Words
from speechllama.model.speech_llama import Batch, SpeechLlama
from speechllama.text.padding import PADDING
from speechllama.text.tasks import TABLES, Task

TRANSCRIPT = "transcript"  # what an utterance has besides its audio, as token ids of the LLM
TRANSCRIPT_TABLE = TABLES["transcript"]


@dataclass(frozen=True)
class DistillConfig:
    """Settings of token-level distillation: the values of `distill_conf` in a YAML.

    Attributes:
        weight: Share of the divergence in the loss, 0 to 1; the cross-entropy has the rest. 0: no distillation.
        temperature: What both sides' logits are divided by, above 0; more than 1 shows more of the unlikely tokens.
            2 is Ultravox's.
    """

    weight: float = 0.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight: expected a share of the loss, from 0 to 1, found {self.weight!r}")
        if not self.temperature > 0:
            raise InputError(f"temperature: expected a number above 0, found {self.temperature!r}")


class DistilledLoss(NamedTuple):
    """A loss with its parts, in nats per text token.

    Attributes:
        loss: (1 - weight) * cross_entropy + weight * temperature ** 2 * divergence.
        cross_entropy: Of the text and its end.
        divergence: Of the student's choices from the teacher's, both at the temperature.
        accuracy: Share of tokens that are the student's first choice.
        num_tokens: Tokens of the text, its end included.
    """

    loss: Tensor
    cross_entropy: Tensor
    divergence: Tensor
    accuracy: Tensor
    num_tokens: Tensor


def read_distillation(settings: Mapping[str, Any], task: Task, where: str) -> DistillConfig:
    """Read the settings of distillation, and refuse it where there is nothing to learn from the teacher.

    Args:
        settings: Of a training.
        task: What is trained.
        where: The YAML, for messages.

    Returns:
        The settings; a weight of 0 means that nothing is distilled.

    Raises:
        ValueError: A value is wrong, the task writes the transcript itself, or the LLM is no fixed teacher.
    """
    config = from_mapping(DistillConfig, settings.get("distill_conf") or {}, f"{where}: distill_conf")
    if not config.weight:
        return config
    if TRANSCRIPT_TABLE in task.references:
        raise InputError(
            f"{where}: distill_conf: the task {task.name} writes the transcript, and the teacher, who reads it, would "
            "only copy it; distil a task that writes something else, such as st, or set weight: 0"
        )
    llm = from_mapping(LLMConfig, {**(settings.get("llm_conf") or {}), "path": ""}, f"{where}: llm_conf")
    why = ""
    if llm.random_weights:
        why = "has random weights, so it knows nothing to teach"
    elif llm.train == "full":
        why = "trains with all its weights, so it is no fixed teacher; take llm_conf: train: lora or frozen"
    elif llm.train == "lora" and llm.lora.splits_weights:
        why = (
            f"gives a part of its weights to the adapters (init_lora_weights: {llm.lora.init_lora_weights}), so it is "
            "another one without them; take init_lora_weights: true"
        )
    if why:
        raise InputError(f"{where}: distill_conf: weight {config.weight}: the LLM {why}")
    return config


def read_transcript(network: SpeechLlama, batch: Batch, words: Words, text: Tensor, text_lengths: Tensor) -> Tensor:
    """Let the LLM read the transcript in the place of the audio, as text and without its adapters.

    Args:
        network: The network.
        batch: Audio, which is not read, and prompt.
        words: The transcripts.
        text: Token ids without end of sequence (B, L), int64, padding -1.
        text_lengths: Their number (B,), int64.

    Returns:
        The teacher's logits at each token of the text and its end (B, L + 1, V), without gradient.
    """
    with torch.no_grad(), network.llm.without_adapters():
        return network.read(batch._replace(audio=words), text, text_lengths).logits


def divergence(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean divergence KL(teacher || student) of the tokens that are not padding.

    Args:
        student: Logits (B, N, V).
        teacher: Logits (B, N, V).
        labels: (B, N), int64, padding -1.
        temperature: What logits are divided by.

    Returns:
        Nats per token.
    """
    valid = labels != PADDING
    own, taught = (F.log_softmax(logits[valid].float() / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(own, taught, reduction="batchmean", log_target=True)


def distilled_loss(
    network: SpeechLlama, batch: Batch, words: Words, target: tuple[Tensor, Tensor], config: DistillConfig
) -> DistilledLoss:
    """Compute the loss of a batch of speech whose transcripts the teacher reads.

    Args:
        network: The network; the teacher is its LLM without adapters.
        batch: Audio and prompt.
        words: The transcripts.
        target: Token ids of the text without end of sequence (B, L), padding -1, and their number (B,).
        config: Weight and temperature.

    Returns:
        The loss and its parts.

    Source: Ultravox (github.com/fixie-ai/ultravox, its loss "kl"), where the weight is 1; mixture and temperature ** 2,
        which keeps the size of the gradients, are those of arXiv 1503.02531, section 2.
    """
    taught = read_transcript(network, batch, words, *target)
    logits, labels = network.read(batch, *target)
    plain, kl = network.loss_of(logits, labels), divergence(logits, taught, labels, config.temperature)
    loss = (1 - config.weight) * plain.loss + config.weight * config.temperature**2 * kl
    return DistilledLoss(loss, plain.loss, kl, plain.accuracy, plain.num_tokens)
