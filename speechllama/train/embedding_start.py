"""Start an audio encoder at the LLM's embeddings: each vector near the words that CTC heard in it.

    compressed vectors (U, D) -> hidden states of the audio encoder (U, D'), posteriors of the CTC head (U, C)
      posteriors x embeddings of the units (C, H) -> targets (U, H)
      hidden states, targets -> projection (D' -> H), by ridge regression

A new audio encoder has to be found by gradients through a frozen LLM, which takes more speech than a small corpus has.
The projection that comes nearest to embeddings the LLM knows is found in seconds, without the LLM; training goes on
from there with what CTC's units leave out.

Source: ours. The targets are close to what system L reads, LegoSLM's way (arXiv 2505.11352).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechllama.constants import BLANK
from speechllama.data.ark import read_features
from speechllama.files import read_table
from speechllama.model.audio import Compressed, Features
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.speech_llama import SpeechLlama

MAX_VECTORS = 100_000  # a regression of some hundred numbers needs no more
RIDGE = 1e-3  # of the mean square of a hidden number


class Fit(NamedTuple):
    """How near a projection comes: share of the targets' variance that it explains, and number of vectors."""

    explained: float
    num_vectors: int


def can_start_at_embeddings(network: SpeechLlama) -> bool:
    """Whether an audio encoder reads states of a frozen encoder, whose CTC head says what was heard in them."""
    has_head = isinstance(getattr(network.encoder, "head", None), nn.Linear)
    return network.config.freeze_encoder and has_head and isinstance(network.audio_encoder, AudioEncoder)


def start_at_embeddings(network: SpeechLlama, table: Tensor, data: Sequence[tuple[str, str, str]]) -> Fit:
    """Set the projection of a network's audio encoder.

    Args:
        network: On the CPU; see `can_start_at_embeddings`.
        table: Embedding of each CTC unit in the LLM (C, H); zero of units that have none, such as blank.
        data: Training data as ESPnet names it: (path, name, type).

    Returns:
        How near it comes.

    Raises:
        FileNotFoundError, ValueError: The data cannot be read.
    """
    table = fill_with_mean(table)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            fit = fit_projection(network.audio_encoder, _read_pairs(network, table, data))
    finally:
        network.train(was_training)
    logging.info(
        "the audio encoder starts at the LLM's embeddings: %.0f %% of the variance of %d vectors explained",
        100 * fit.explained, fit.num_vectors,
    )  # fmt: skip
    return fit


def fill_with_mean(table: Tensor) -> Tensor:
    """Give units without an embedding, such as blank, the mean of the others: an embedding that says nothing."""
    is_empty = ~table.any(1)
    is_empty[BLANK] = True
    return torch.where(is_empty[:, None], table[~is_empty].mean(0), table)


def fit_projection(audio_encoder: nn.Module, pairs: Iterator[tuple[Tensor, Tensor]]) -> Fit:
    """Set the projection so that the squared distance to the targets is smallest, with a little weight decay.

    Args:
        audio_encoder: An `AudioEncoder`, in evaluation mode; only its projection changes.
        pairs: Of each utterance the compressed vectors (U, D) and their targets (U, H).

    Returns:
        How near it comes, before the LayerNorm.
    """
    assert isinstance(audio_encoder, AudioEncoder)
    projection = audio_encoder.projection
    width, llm_dim = projection.in_features + 1, projection.out_features
    square, product = torch.zeros(width, width).double(), torch.zeros(width, llm_dim).double()
    total, energy, num_vectors = torch.zeros(llm_dim).double(), 0.0, 0
    for vectors, targets in pairs:
        lengths = torch.tensor([len(vectors)])
        hidden = audio_encoder.transformer(audio_encoder.input(vectors[None].float()), lengths)[0].double()
        hidden = torch.cat((hidden, hidden.new_ones(len(hidden), 1)), 1)  # the last is the bias
        targets = targets.double()
        square += hidden.T @ hidden
        product += hidden.T @ targets
        total += targets.sum(0)
        energy += float(targets.square().sum())
        num_vectors += len(targets)
    decay = RIDGE * square.diagonal()[:-1].mean() * torch.ones(width).double()
    decay[-1] = 0.0  # the bias is free
    solution = torch.linalg.solve(square + decay.diag(), product)  # (D' + 1, H)
    projection.weight.copy_(solution[:-1].T)
    projection.bias.copy_(solution[-1])
    # |t - W h|^2 from the sums alone, so that the vectors need not stay in memory
    residual = energy - 2 * float((solution * product).sum()) + float((solution * (square @ solution)).sum())
    variance = energy - float(total.square().sum()) / num_vectors
    return Fit(1.0 - residual / variance, num_vectors)


def _read_pairs(
    network: SpeechLlama, table: Tensor, data: Sequence[tuple[str, str, str]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Compressed vectors and targets of utterances from all of the corpus, MAX_VECTORS vectors at most."""
    (path, name), *_ = [(path, name) for path, name, _ in data if name in ("compressed", "speech")]
    places = list(read_table(path).items())
    num_vectors = 0
    for utterance, place in places[:: max(1, len(places) // MAX_VECTORS)]:
        array = read_features(place, f"{path}: {utterance}")
        if name == "compressed":
            vectors = Compressed.pad([array]).vectors[0]
        else:
            vectors = network.compress(Features.pad([array])).vectors[0]
        yield vectors, network.encoder.head(vectors).softmax(-1) @ table
        num_vectors += len(vectors)
        if num_vectors >= MAX_VECTORS:
            return
