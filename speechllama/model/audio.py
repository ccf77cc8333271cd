"""Audio at each station of the flow, with its lengths, and the protocol of an encoder.

features (B, T, F) -> encoded (B, M, D) -> compressed (B, U, D) or units (B, U)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


class Features(NamedTuple):
    """The features of a batch of recordings.

    Attributes:
        values: Features (B, T, F), any padding value.
        lengths: Valid frames T (B,), int64, each at least 1.
    """

    values: Tensor
    lengths: Tensor

    @classmethod
    def pad(cls, matrices: Sequence[np.ndarray]) -> Features:
        """Make a batch of the features (T, F) of single utterances, zero where padded."""
        return cls(*_pad(matrices))

    def to(self, device: torch.device | str) -> Features:
        """Move it to a device."""
        return Features(self.values.to(device), self.lengths.to(device))


class Encoded(NamedTuple):
    """The encoder's output for a batch.

    Attributes:
        hidden: Encoder states (B, M, D), zero where padded.
        logits: Scores of the CTC units before softmax (B, M, C); C is 0 without a CTC head.
        lengths: Valid frames M (B,), int64.
    """

    hidden: Tensor
    logits: Tensor
    lengths: Tensor


class Compressed(NamedTuple):
    """The compressed frames of a batch, from a compressor or from the cache.

    Attributes:
        vectors: Compressed frames (B, U, D), unit numbers (B, U), int64, or posteriors (B, U, 2 K); zero where a
            compressor padded.
        lengths: Valid vectors U (B,), int64, each at least 1.
        runs: Output vector of each encoder frame (B, M), int64; -1 where the frame was dropped or is padding. None
            if vectors share frames (`convolution`) or come from the cache.
    """

    vectors: Tensor
    lengths: Tensor
    runs: Tensor | None = None

    @classmethod
    def pad(cls, arrays: Sequence[np.ndarray]) -> Compressed:
        """Make a batch of the vectors (U, D) or unit numbers (U,) of single utterances, zero where padded."""
        return cls(*_pad(arrays))

    def to(self, device: torch.device | str) -> Compressed:
        """Move it to a device."""
        runs = None if self.runs is None else self.runs.to(device)
        return Compressed(self.vectors.to(device), self.lengths.to(device), runs)


class Words(NamedTuple):
    """Transcripts in the place of speech.

    Attributes:
        tokens: Token ids of the LLM (B, U), int64, padding -1.
        lengths: Their number U (B,), int64, each at least 1.
    """

    tokens: Tensor
    lengths: Tensor


@runtime_checkable
class SpeechEncoder(Protocol):
    """What the network expects of an encoder, which is a torch module."""

    @property
    def dim(self) -> int:
        """Width D of its states."""

    @property
    def frame_shift(self) -> float:
        """Seconds from a state to the next."""

    def __call__(self, speech: Tensor, speech_lengths: Tensor) -> Encoded:
        """Encode features (B, T, F), any padding value, of which the first `speech_lengths` (B,) frames are valid."""


AudioInput = Features | Compressed  # what the network reads: features, or their compressed form from the cache


def _pad(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays (L_i, ...) to (B, L, ...) and lengths (B,); floats become float32, integers int64."""
    kinds = [np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32 for array in arrays]
    tensors = [torch.from_numpy(np.array(array, dtype=kind)) for array, kind in zip(arrays, kinds, strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    return padded, torch.tensor([len(tensor) for tensor in tensors])
