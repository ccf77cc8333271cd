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
from speechllama.llm.prefix_mask import Prefix, PrefixMaskName, position_ids, visible

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
            prefix leaves less of the LLM's context. If that cuts a text, a warning says so.
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
    bounded = (left < limits).tolist()
    limits = torch.minimum(limits, left)
    scorer = LLMScorer(llm, prefix, prefix_mask)
    found = run_search(scorer, limits.to(prefix.embeddings.device), llm.eos_token_id, config)
    num_cut = sum(is_bounded and nbest[0].is_cut for is_bounded, nbest in zip(bounded, found, strict=True))
    if num_cut:
        logging.warning(
            "prompt and audio leave too few of the LLM's %d positions: the text of %d of %d utterances was cut",
            *(llm.context, num_cut, len(found)),
        )
    return found


class LLMScorer:
    """Scores continuations with the LLM, given a prefix.

    Args:
        llm: The language model.
        prefix: [prompt ; audio ; suffix], right-aligned.
        prefix_mask: Mask over the prefix, as in training.
    """

    def __init__(self, llm: LLM, prefix: Prefix, prefix_mask: PrefixMaskName) -> None:
        from transformers import DynamicCache

        self.llm = llm
        self.cache: Any = DynamicCache()
        width = prefix.embeddings.shape[1]
        columns = torch.arange(width, device=prefix.lengths.device)
        self.real = columns[None] >= (width - prefix.lengths)[:, None]  # (A, P)
        seen = visible(prefix.lengths, width, 0, prefix_mask)
        self.positions = position_ids(prefix.lengths, width, 0)  # (A, P), later (A, P + K t)
        # (A, 1, V): before the first token all hypotheses are equal
        self.first = llm(prefix.embeddings, seen, self.positions, num_logits=1, cache=self.cache)

    def candidates(self, beams: Beams, number: int) -> Candidates:
        """See `Scorer`."""
        beam, step = beams.tokens.shape[1:]
        logits = self._score_next(beams) if step else self.first.expand(-1, beam, -1)
        return _best_tokens(logits, beams.scores, number)

    def select(self, rows: Tensor) -> None:
        """See `Scorer`."""
        self.cache.batch_select_indices(rows)
        self.real, self.positions = self.real[rows], self.positions[rows]

    def _score_next(self, beams: Beams) -> Tensor:
        """Logits (A, K, V) after the last token of each hypothesis; its keys and values join the cache."""
        beam = beams.tokens.shape[1]
        shared = self.real[:, None, :].expand(-1, beam, -1)  # (A, K, P)
        seen = torch.cat((shared, beams.history), dim=2)[:, None]  # (A, 1, K, P + K t)
        # The last column is at the position before, be it the end of the prefix or a hypothesis' token.
        self.positions = torch.cat((self.positions, (self.positions[:, -1:] + 1).expand(-1, beam)), dim=1)
        embeddings = self.llm.embed(beams.tokens[:, :, -1])  # (A, K, H)
        return self.llm(embeddings, seen, self.positions, num_logits=beam, cache=self.cache)


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
