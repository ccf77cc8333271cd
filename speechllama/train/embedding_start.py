"""Start an audio encoder at the LLM's embeddings: each vector near the words that CTC heard in it.

    compressed vectors (U, D) -> audio encoder (U, H)
    the same -> posteriors without blank (U, C - 1) x embeddings of the units (C - 1, H) -> targets (U, H)

A new audio encoder has to be found by gradients through a frozen LLM, which takes more speech than a small corpus has.
Embeddings that the LLM knows are learned without running it, in minutes. Ordinary training follows, and can add what
CTC's units leave out.

Source: ours. The targets are close to what system L reads, LegoSLM's way (arXiv 2505.11352).
"""

from __future__ import annotations

import logging
import random
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.batches import padded_batches
from speechllama.constants import BLANK
from speechllama.data.ark import read_features
from speechllama.files import read_table
from speechllama.model.audio import Compressed, Features
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.layers import length_mask
from speechllama.model.posteriors import drop_blank
from speechllama.model.speech_llama import SpeechLlama
from speechllama.progress import progress

NUM_UPDATES = 3000
BATCH_VECTORS = 2000  # with the padding
LEARNING_RATE = 2e-3  # the highest; it goes up and down once
MAX_VECTORS = 200_000  # kept in memory


def find_head(network: SpeechLlama) -> nn.Linear | None:
    """Return the CTC head of a frozen encoder, if an audio encoder reads the states that it scores; else None."""
    head = getattr(network.encoder, "head", None)
    is_read = network.config.freeze_encoder and isinstance(network.audio_encoder, AudioEncoder)
    return head if is_read and isinstance(head, nn.Linear) else None


def start_at_embeddings(
    network: SpeechLlama, table: Tensor, data: Sequence[tuple[str, str, str]], device: str = "cpu", seed: int = 1
) -> float:
    """Teach a network's audio encoder the embeddings of what CTC heard.

    Args:
        network: On the CPU, with a head that `find_head` finds; only its audio encoder changes.
        table: Embedding of each CTC unit in the LLM (C, H); zero of units that have none, such as blank.
        data: Training data as ESPnet names it: (path, name, type).
        device: Where to compute.
        seed: Of the batches and the dropout; the caller's generators are left as they are.

    Returns:
        The distance that is left, see `distance_to`; the mean over the last tenth of the updates.

    Raises:
        FileNotFoundError, ValueError: The data cannot be read.
    """
    found = find_head(network)
    assert found is not None
    weight, bias, table = (each.detach().to(device) for each in (found.weight, found.bias, table))
    utterances = read_vectors(network, data)
    audio_encoder, is_training = network.audio_encoder, network.audio_encoder.training
    with torch.random.fork_rng([torch.cuda.current_device()] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        distance = learn(
            audio_encoder.to(device).train(),
            lambda vectors: embed_best(F.linear(vectors, weight, bias), table),
            utterances,
            random.Random(seed),
        )
    audio_encoder.to("cpu").train(is_training).zero_grad(set_to_none=True)
    logging.info(
        "the audio encoder starts at the LLM's embeddings: %.2f of their variance away, %d updates on %d utterances",
        distance, NUM_UPDATES, len(utterances),
    )  # fmt: skip
    return distance


def embed_best(logits: Tensor, table: Tensor) -> Tensor:
    """Embed CTC logits (B, U, C) as the mean of the units' embeddings (C, H), weighted by their posteriors.

    Blank is left out; where it is the best, nothing was said, and the embedding is the mean of all that are not zero.
    """
    embedded = drop_blank(logits).softmax(-1) @ table[BLANK + 1 :]
    is_blank = (logits.argmax(-1) == BLANK)[..., None]
    return torch.where(is_blank, table[table.any(1)].mean(0), embedded)


@torch.no_grad()
def read_vectors(network: SpeechLlama, data: Sequence[tuple[str, str, str]]) -> list[Tensor]:
    """Read the compressed vectors (U, D) of utterances from all of the corpus, until there are MAX_VECTORS."""
    (path, name), *_ = [(path, name) for path, name, _ in data if name in ("compressed", "speech")]
    places = list(read_table(path).items())
    random.Random(0).shuffle(places)
    utterances: list[Tensor] = []
    num_vectors = 0
    for utterance, place in places:
        array = read_features(place, f"{path}: {utterance}")
        audio = Compressed.pad([array]) if name == "compressed" else network.compress(Features.pad([array]))
        utterances.append(audio.vectors[0].float())
        num_vectors += len(utterances[-1])
        if num_vectors >= MAX_VECTORS:
            break
    return utterances


def learn(
    audio_encoder: nn.Module,
    embed: Callable[[Tensor], Tensor],
    utterances: Sequence[Tensor],
    dice: random.Random,
) -> float:
    """Train an audio encoder to give the embeddings that a function finds in compressed vectors (B, U, D).

    Returns:
        As `start_at_embeddings`.
    """
    optimizer = torch.optim.AdamW(audio_encoder.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=NUM_UPDATES)
    batches, distances = _endless(utterances, dice), []
    for _ in progress(range(NUM_UPDATES), NUM_UPDATES, "updates of the start at the LLM's embeddings"):
        distance = distance_to(embed, audio_encoder, next(batches))
        optimizer.zero_grad()
        distance.backward()
        nn.utils.clip_grad_norm_(audio_encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        # A number: a tensor that stays would keep the memory around it from being given back, 3 MB an update.
        distances.append(distance.item())
    return statistics.fmean(distances[-max(1, NUM_UPDATES // 10) :])


def distance_to(embed: Callable[[Tensor], Tensor], audio_encoder: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Measure how far an audio encoder is from the embeddings of utterances (U, D): a mean squared distance, a scalar.

    Embeddings are compared after a LayerNorm, with which an audio encoder ends: 1 is their variance.
    """
    device = next(audio_encoder.parameters()).device
    vectors = nn.utils.rnn.pad_sequence(list(batch), batch_first=True).to(device)
    lengths = torch.tensor([len(each) for each in batch], device=device)
    output: Tensor = audio_encoder(vectors, lengths)
    valid = length_mask(lengths, output.shape[1])
    width = output.shape[-1:]
    return F.mse_loss(F.layer_norm(output[valid], width), F.layer_norm(embed(vectors)[valid], width))


def _endless(utterances: Sequence[Tensor], dice: random.Random) -> Iterator[list[Tensor]]:
    """Batches of utterances of similar length, in a new order in each round."""
    batches = list(padded_batches(sorted(utterances, key=len), len, BATCH_VECTORS))
    while True:
        dice.shuffle(batches)
        yield from batches
