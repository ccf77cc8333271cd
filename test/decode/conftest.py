"""What several tests of decoding share."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch


def alignments(log_probs: torch.Tensor) -> list[tuple[list[int], float]]:
    """What each path through the frames (M, C) writes, and its probability."""
    frames = log_probs.exp().tolist()
    found = []
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(frames)):
        probability = 1.0
        for frame, unit in zip(frames, path, strict=True):
            probability *= frame[unit]
        found.append(([unit for unit, _ in itertools.groupby(path) if unit != 0], probability))
    return found


def score_prefix(log_probs: torch.Tensor, begin: list[int]) -> float:
    """Probability of all outputs that begin so."""
    return sum(p for written, p in alignments(log_probs) if written[: len(begin)] == begin)


def score_whole(log_probs: torch.Tensor, output: list[int]) -> float:
    """Probability of exactly this output."""
    return sum(p for written, p in alignments(log_probs) if written == output)


@pytest.fixture(scope="session")
def ctc_oracle() -> SimpleNamespace:
    """CTC probabilities by counting all paths; for a handful of frames and units."""
    return SimpleNamespace(prefix=score_prefix, whole=score_whole)
