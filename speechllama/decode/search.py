"""Greedy and beam search, and sampling, over an LLM whose prefix is audio; the rules are in beam.py.

prefix (B, P, H) -> keys and values, once per utterance -> n-best token sequences
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechllama.decode.beam import Beams, Candidates, Hypothesis, run_search
from speechllama.decode.rules import NO_RULES, Rules
from speechllama.decode.search_config import SearchConfig
from speechllama.faults import InputError
from speechllama.llm.context import tokens_left
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix, PrefixMaskName, position_ids, visible

__all__ = ["Hypothesis", "LLMSearch", "SearchConfig", "search"]


def search(
    llm: LLM, prefix: Prefix, limits: Tensor, prefix_mask: PrefixMaskName, config: SearchConfig
) -> list[list[Hypothesis]]:
    """Find texts after prefixes that have no names; see `LLMSearch`."""
    return LLMSearch(llm, prefix_mask, config)(prefix, limits)


@dataclass(frozen=True)
class LLMSearch:
    """Finds the most probable texts after each prefix, or draws some.

    Attributes:
        llm: The language model.
        prefix_mask: Mask over the prefix, as in training.
        config: Settings of the search.
    """

    llm: LLM
    prefix_mask: PrefixMaskName
    config: SearchConfig

    @torch.no_grad()
    def __call__(self, prefix: Prefix, limits: Tensor, names: Sequence[str] = ()) -> list[list[Hypothesis]]:
        """Search.

        Args:
            prefix: [prompt ; audio ; suffix], right-aligned.
            limits: Most new tokens per utterance (B,), int64, end of sequence included, each at least 1; less where the
                prefix leaves less of the LLM's context. If that cuts a text, a warning says so.
            names: Of the utterances, which decide their samples; without any, all draw the same numbers.

        Returns:
            As `run_search`.

        Raises:
            ValueError: A prefix by itself is longer than the LLM's context.
        """
        llm = self.llm
        left = tokens_left(llm.context, prefix.lengths)
        if int(left.min()) < 1:
            raise InputError(
                f"prompt and audio take {int(prefix.lengths.max())} positions, the LLM has {llm.context}; cut the "
                "recording into shorter segments, or take an LLM with a longer context"
            )
        limits = limits.to(left.device)
        bounded = (left < limits).tolist()
        limits = torch.minimum(limits, left)
        scorer = LLMScorer(llm, prefix, self.prefix_mask, Rules.of(self.config, names or [""] * len(limits)))
        found = run_search(scorer, limits.to(prefix.embeddings.device), llm.eos_token_id, self.config)
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
        rules: What the search makes of the scores; without any, it takes the best.
    """

    def __init__(self, llm: LLM, prefix: Prefix, prefix_mask: PrefixMaskName, rules: Rules = NO_RULES) -> None:
        from transformers import DynamicCache

        self.llm, self.rules = llm, rules
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
        penalties, sampler = self.rules
        if penalties:
            # As in transformers: a beam changes log-probabilities, which do not sum to 1 any more; greedy search and
            # sampling change logits.
            is_beam = beam > 1 and not sampler
            logits = penalties(beams.tokens, logits.float().log_softmax(2) if is_beam else logits.float())
            if is_beam:
                return _best_of(*logits.topk(min(number, logits.shape[2]), dim=2), beams.scores, number)
        if sampler:
            return sampler.draw(logits.float().log_softmax(2), beams.scores)
        return _best_tokens(logits, beams.scores, number)

    def select(self, rows: Tensor) -> None:
        """See `Scorer`."""
        self.cache.batch_select_indices(rows)
        self.rules.select(rows)
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
    return _best_of(best - logits.logsumexp(2, keepdim=True), tokens, scores, number)


def _best_of(gained: Tensor, tokens: Tensor, scores: Tensor, number: int) -> Candidates:
    """The best of some continuations (A, K, n) of each hypothesis, which gain so much over its score (A, K)."""
    total = gained + scores[:, :, None]
    chosen, index = total.flatten(1).topk(min(number, total[0].numel()))
    return Candidates(chosen, index // tokens.shape[2], tokens.flatten(1).gather(1, index))
