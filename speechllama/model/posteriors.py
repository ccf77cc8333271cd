"""CTC posteriors as embeddings of the LLM: what CTC heard, in the words that the LLM reads (system L).

    states (B, M, D), CTC logits (B, M, C) -> best units and probabilities of each run (B, U, 2 K)
      -> units' embeddings, weighted by the probabilities (B, U, H)

Source: LegoSLM, arXiv 2505.11352: the posteriors without blank, times the LLM's input embeddings, with a softmax
temperature. Its CTC units are the LLM's tokens. Ours are SentencePiece units, each with the mean of the embeddings
of the tokens that its text has in the LLM. Averaging over runs, keeping the K best, and all that trains here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import BLANK
from speechllama.faults import InputError
from speechllama.llm.llm import LLM
from speechllama.model.audio import Compressed, Encoded
from speechllama.model.audio_encoder import AudioEncoder, Ends
from speechllama.model.compressor import average_kept, label_frames
from speechllama.model.compressors import PosteriorSettings
from speechllama.model.ctc_encoder import find_starts
from speechllama.model.layers import length_mask

GATE_START = 0.01  # what the states add at first; at 0 itself, the audio encoder before the gate would have no gradient


class PosteriorCompressor(nn.Module):
    """Averages the posteriors of each run of frames with the same best CTC unit; blank frames are left out.

    Of each frame the posteriors of all units but blank, which add up to 1, are averaged. The K best of a run are kept,
    with their numbers: 64 numbers a run in place of 5,000 or 49,152.

    Args:
        settings: How many are kept, and whether the states are.
    """

    def __init__(self, settings: PosteriorSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, encoded: Encoded) -> Compressed:
        """Turn the encoder's output (B, M, D) into [units ; probabilities ; state, if kept] (B, U, 2 K + D), float32.

        Units are from 1, the best first; padding is zero.
        """
        labels = label_frames(encoded)
        kept = length_mask(encoded.lengths, labels.shape[1]) & (labels != BLANK)  # (B, M)
        posteriors = drop_blank(encoded.logits).softmax(-1)  # (B, M, C - 1)
        frames = torch.cat((posteriors, encoded.hidden.float()), -1) if self.settings.keep_states else posteriors
        averaged = average_kept(
            encoded._replace(hidden=frames), kept, kept & find_starts(labels), self.settings.max_compressed_length
        )
        means, states = averaged.vectors.tensor_split([posteriors.shape[2]], -1)
        best, index = means.topk(min(self.settings.num_best, means.shape[2]))  # (B, U, K)
        units = index + BLANK + 1
        valid = length_mask(averaged.lengths, means.shape[1])[:, :, None]
        vectors = torch.cat((units.float(), best, states), -1)  # float32 holds whole numbers up to 2^24
        return averaged._replace(vectors=vectors.masked_fill(~valid, 0.0))


def drop_blank(logits: Tensor) -> Tensor:
    """Leave blank, the first unit, out of CTC logits (B, M, C) -> (B, M, C - 1), float32."""
    return logits[:, :, BLANK + 1 :].float()


@torch.no_grad()
def embed_units(spelling: Sequence[Sequence[int]], llm: LLM, num_units: int) -> Tensor:
    """Embed each CTC unit as the mean of its tokens' embeddings (C, H), float32; zero where it has no tokens.

    Args:
        spelling: The LLM's tokens of each CTC unit, of blank the first.
        llm: Whose embeddings.
        num_units: The encoder's CTC units C.

    Raises:
        ValueError: There are more or fewer units than the encoder's.
    """
    if len(spelling) != num_units:
        raise InputError(
            f"{len(spelling)} CTC units have a text, the CTC encoder has {num_units} units; "
            "its tokenizer is another one than it was trained with: run stage ctc again"
        )
    table = torch.zeros(num_units, llm.dim)
    for row, tokens in zip(table, spelling, strict=True):
        if tokens:
            row.copy_(llm.embed(torch.tensor(tokens, device=llm.model.device)).float().mean(0))
    return table


class PosteriorEmbedding(nn.Module):
    """Embeds posteriors: the mean of the units' embeddings, weighted by probability.

    The table of embeddings is the LLM's and never trains, so that the LLM reads what it knows. What trains is small:
    a temperature, and a scale and a shift of each of the H numbers, since a mean of embeddings is shorter than an
    embedding. All of them start at nothing and weight decay pulls them back there. So a frozen LLM has something to
    train too, and LoRA starts from there.

    Args:
        settings: How many units a vector has, and the temperature.
        ends: What it lies between.
        audio_encoder: Reads the states, and adds what it makes of them through a gate that starts near 0; None where
            the states are not kept.

    Raises:
        ValueError: The encoder has no CTC units.
    """

    def __init__(self, settings: PosteriorSettings, ends: Ends, audio_encoder: AudioEncoder | None = None) -> None:
        super().__init__()
        if ends.num_units < 2:
            raise InputError(
                f"the compressor posteriors needs an encoder with CTC units, found {ends.num_units} of them (one is "
                "blank): give ctc_dir, a trained encoder (stage ctc)"
            )
        self.num_best = min(settings.num_best, ends.num_units - 1)  # K
        self.temperature = settings.temperature
        self.state_dim = ends.dim if audio_encoder else 0
        # A parameter, not a buffer, so that checkpoints have it, and decoding needs neither units nor their texts.
        self.table = nn.Parameter(torch.zeros(ends.num_units, ends.llm_dim), requires_grad=False)
        self.log_temperature = nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.zeros(ends.llm_dim))
        self.shift = nn.Parameter(torch.zeros(ends.llm_dim))
        self.audio_encoder = audio_encoder
        if audio_encoder:
            self.gate = nn.Parameter(torch.full((1,), GATE_START))

    @torch.no_grad()
    def set_table(self, spelling: Sequence[Sequence[int]], llm: LLM) -> None:
        """Give each unit the mean of its tokens' embeddings; zero to one that has no tokens, such as blank.

        Args:
            spelling: The LLM's tokens of each CTC unit, of blank the first.
            llm: Whose embeddings.

        Raises:
            ValueError: There are more or fewer units than the encoder's.
        """
        self.table.copy_(embed_units(spelling, llm, len(self.table)))

    def forward(self, compressed: Tensor, lengths: Tensor) -> Tensor:
        """Embed audio.

        Args:
            compressed: [units ; probabilities ; state, if kept] (B, U, 2 K + D), any padding value.
            lengths: Valid vectors (B,), int64, each at least 1.

        Returns:
            Embeddings for the LLM (B, U, H), zero where padded.

        Raises:
            ValueError: The vectors have another width: another compressor wrote them.
        """
        expected = 2 * self.num_best + self.state_dim
        if compressed.dim() != 3 or compressed.shape[2] != expected:
            raise InputError(
                f"expected {self.num_best} units, as many probabilities and {self.state_dim} numbers of a state, found "
                f"vectors {tuple(compressed.shape)}: another compressor wrote them, run stage `compress` again"
            )
        valid = length_mask(lengths, compressed.shape[1])[:, :, None]
        compressed = compressed.masked_fill(~valid, 0.0)
        units, probabilities, states = compressed.float().tensor_split([self.num_best, 2 * self.num_best], -1)
        embedded = self._look_up(units.long(), probabilities)  # (B, U, H)
        embedded = embedded * (1.0 + self.scale) + self.shift
        if self.audio_encoder:
            embedded = embedded + self.gate * self.audio_encoder(states, lengths)
        return embedded.masked_fill(~valid, 0.0)

    def _look_up(self, units: Tensor, probabilities: Tensor) -> Tensor:
        """Average the rows of units (B, U, K) by their probabilities, sharpened by the temperature -> (B, U, H)."""
        log_probabilities = probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()
        weights = (log_probabilities / (self.temperature * self.log_temperature.exp())).softmax(-1)
        # The sum of weighted rows, without the rows (B, U, K, H) in memory.
        means = F.embedding_bag(units.flatten(0, 1), self.table, per_sample_weights=weights.flatten(0, 1), mode="sum")
        return means.view(*units.shape[:2], -1)
