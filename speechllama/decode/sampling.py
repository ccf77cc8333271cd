"""Sampling: a token is drawn for each hypothesis.

log-probabilities (A, K, n) -> temperature, top-k, top-p -> one number from 0 to 1 each -> tokens (A, K)

Each utterance has its own random numbers, made of the seed and its name. So a text depends neither on the utterances
that share its batch, nor on the number of jobs, nor on what was decoded before a stop.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from speechllama.decode.beam import Candidates
from speechllama.decode.search_config import SearchConfig


class Sampler:
    """Draws the tokens of A utterances with K samples each.

    Args:
        config: Settings of the search.
        names: A name of each utterance; the same name draws the same numbers.
    """

    def __init__(self, config: SearchConfig, names: Sequence[str]) -> None:
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.warpers: list[Any] = []  # in the order of `generate`
        if config.temperature != 1.0:
            self.warpers.append(TemperatureLogitsWarper(float(config.temperature)))
        if config.top_k:
            self.warpers.append(TopKLogitsWarper(config.top_k))
        if config.top_p < 1.0:
            self.warpers.append(TopPLogitsWarper(config.top_p))
        # Seeded by a text, Python's generator gives the same numbers on every machine and with every version.
        self.generators = [random.Random(f"{config.sample_seed} {name}") for name in names]

    def select(self, rows: Tensor) -> None:
        """Keep some utterances."""
        self.generators = [self.generators[row] for row in rows.tolist()]

    def probabilities(self, scores: Tensor) -> Tensor:
        """What is drawn from (A, K, n), given the scores (A, K, n): logits, or log-probabilities."""
        rows = scores.flatten(0, 1)
        for warper in self.warpers:
            rows = warper(None, rows)
        return rows.softmax(-1).view_as(scores)

    def draw(self, scores: Tensor, totals: Tensor) -> Candidates:
        """Draw what follows each hypothesis.

        Args:
            scores: What each token adds to a hypothesis' score (A, K, n), in nats; -inf: never.
            totals: Scores of the hypotheses so far (A, K).

        Returns:
            A continuation of each hypothesis, in their order. It scores what the model gives, before temperature, top-k
            and top-p, so that samples of several settings, and hypotheses of a beam, have comparable scores.
        """
        # float64: the sum over a vocabulary of 100,000 tokens would lose the rare ones.
        summed = self.probabilities(scores).cumsum(-1, dtype=torch.float64)
        num_samples = scores.shape[1]
        numbers = [[generator.random() for _ in range(num_samples)] for generator in self.generators]
        whole = summed[:, :, -1:]
        # Below the whole, so that what is found has a probability, however the product is rounded.
        place = torch.minimum(summed.new_tensor(numbers)[:, :, None] * whole, whole.nextafter(torch.zeros_like(whole)))
        tokens = torch.searchsorted(summed, place, right=True)  # (A, K, 1), the first whose sum is above the number
        parents = torch.arange(num_samples, device=scores.device).expand(len(scores), -1)
        return Candidates(totals + scores.gather(2, tokens)[:, :, 0], parents, tokens[:, :, 0])
