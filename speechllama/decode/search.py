"""Greedy and beam search over an LLM whose prefix is audio; the rules are in beam.py.

prefix (B, P, H) -> keys and values, once per utterance -> n-best token sequences
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from speechllama.decode.beam import Beams, Candidates, Hypothesis, SearchConfig, run_search
from speechllama.faults import InputError
from speechllama.llm.context import tokens_left
from speechllama.llm.llm import LLM
from speechllama.model.prefix_mask import Prefix, PrefixMaskName, additive, position_ids, visible

__all__ = ["Hypothesis", "SearchConfig", "search"]


@torch.no_grad()
def search(
    llm: LLM, prefix: Prefix, limits: Tensor, prefix_mask: PrefixMaskName, config: SearchConfig
) -> list[list[Hypothesis]]:
    """Find the most probable texts after each prefix.

    Args:
        llm: The language model.
        prefix: [prompt ; audio ; suffix], right-aligned.
        limits: Most new tokens per utterance (B,), int64, end of sequence included, each at least 1; less where the
            prefix leaves less of the LLM's context, which a warning says.
        prefix_mask: Mask over the prefix, as in training.
        config: Settings of the search.

    Returns:
        As `run_search`.

    Raises:
        ValueError: A prefix by itself is longer than the LLM's context.
    """
    left = tokens_left(llm.context, prefix.lengths)
    if int(left.min()) < 1:
        raise InputError(
            f"prompt and audio take {int(prefix.lengths.max())} positions, the LLM has {llm.context}; cut the "
            "recording into shorter segments, or take an LLM with a longer context"
        )
    limits = limits.to(left.device)
    num_bounded = int((left < limits).sum())
    if num_bounded:
        logging.warning(
            "the LLM's context of %d positions leaves %d of %d utterances fewer tokens than the search allows, %d at "
            "least: their text may be cut off",
            *(llm.context, num_bounded, len(limits), int(left.min())),
        )
    limits = torch.minimum(limits, left)
    scorer = LLMScorer(llm, prefix, prefix_mask)
    return run_search(scorer, limits.to(prefix.embeddings.device), llm.eos_token_id, config)


class LLMScorer:
    """Scores continuations with the LLM, given a prefix.

    Args:
        llm: The language model.
        prefix: [prompt ; audio ; suffix], right-aligned.
        prefix_mask: Mask over the prefix, as in training.
    """

    def __init__(self, llm: LLM, prefix: Prefix, prefix_mask: PrefixMaskName) -> None:
        from transformers import DynamicCache

        self.llm, self.lengths = llm, prefix.lengths
        self.cache: Any = DynamicCache()
        width = prefix.embeddings.shape[1]
        columns = torch.arange(width, device=prefix.lengths.device)
        self.real = columns[None] >= (width - prefix.lengths)[:, None]  # (A, P)
        mask = visible(prefix.lengths, width, 0, prefix_mask)
        positions = position_ids(prefix.lengths, width, 0)
        # (A, 1, V): before the first token all hypotheses are equal
        self.first = llm(prefix.embeddings, _additive(mask, llm), positions, num_logits=1, cache=self.cache)

    def candidates(self, beams: Beams, number: int) -> Candidates:
        """See `Scorer`."""
        beam, step = beams.tokens.shape[1:]
        logits = self._score_next(beams) if step else self.first.expand(-1, beam, -1)
        return _best_tokens(logits, beams.scores, number)

    def select(self, rows: Tensor) -> None:
        """See `Scorer`."""
        self.cache.batch_select_indices(rows)
        self.real, self.lengths = self.real[rows], self.lengths[rows]

    def _score_next(self, beams: Beams) -> Tensor:
        """Logits (A, K, V) after the last token of each hypothesis; its keys and values join the cache."""
        beam, step = beams.tokens.shape[1:]
        shared = self.real[:, None, :].expand(-1, beam, -1)  # (A, K, P)
        mask = torch.cat((shared, beams.history), dim=2)[:, None]  # (A, 1, K, P + K t)
        positions = (self.lengths[:, None] + step - 1).expand(-1, beam)
        embeddings = self.llm.embed(beams.tokens[:, :, -1])  # (A, K, H)
        return self.llm(embeddings, _additive(mask, self.llm), positions, num_logits=beam, cache=self.cache)


def _best_tokens(logits: Tensor, scores: Tensor, number: int) -> Candidates:
    """The best continuations of all hypotheses by their logits (A, K, V) and scores (A, K).

    The best `number` of all K V are among the best `number` of each hypothesis, so the vocabulary is read twice
    (normaliser, top) instead of being copied and sorted as one row of K V.
    """
    logits = logits.float()
    best, tokens = logits.topk(min(number, logits.shape[2]), dim=2)  # (A, K, number)
    total = best - logits.logsumexp(2, keepdim=True) + scores[:, :, None]
    chosen, index = total.flatten(1).topk(min(number, total[0].numel()))
    return Candidates(chosen, index // best.shape[2], tokens.flatten(1).gather(1, index))


def _additive(mask: Tensor, llm: LLM) -> Tensor:
    return additive(mask, llm.base_dtype)
