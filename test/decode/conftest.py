"""What several tests of decoding share."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from test.decode.generated import EOS


@pytest.fixture(scope="module", params=["tiny", "stories260K"])
def llm(request: pytest.FixtureRequest) -> LLM:
    """Two small LLMs, of random weights and a trained one."""
    if request.param == "tiny":
        llm = LLM(LLMConfig(str(request.getfixturevalue("tiny_llm")))).eval()
        with torch.no_grad():  # make the end likely enough that hypotheses of many lengths finish
            llm.model.get_output_embeddings().weight[EOS] *= 1.5
        return llm
    return LLM(LLMConfig(str(request.getfixturevalue("shared_data") / "llama" / "stories260K"))).eval()


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
