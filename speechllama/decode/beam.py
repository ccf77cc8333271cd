"""The rules of greedy and beam search, for any model that scores continuations.

    Scorer -> n-best token sequences

The K hypotheses of an utterance are K query columns of one row, not K rows: they share the keys and values of the
audio, and each new token's keys are appended once. A mask says which of the earlier tokens belong to a hypothesis' own
history, so that nothing is copied or reordered when hypotheses change places. One step costs the attention over
P + K t keys an utterance, where K rows would cost K (P + t) and a copy of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from speechllama.faults import InputError

IMPOSSIBLE = -1.0e9  # a score that no hypothesis reaches, the same as in transformers


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the search.

    Attributes:
        beam_size: Hypotheses K kept; 1 is greedy search.
        nbest: Hypotheses returned, at most K.
        length_penalty: A finished hypothesis scores log-probability / length ** length_penalty, the length with
            its end of sequence; above 0 favours longer text.
        max_tokens: Most tokens of any utterance, the end of sequence included; None: as many as its duration allows.
        tokens_per_second: Most tokens per second of audio; speech has 2 to 4 words a second.
        min_tokens: Limit that even the shortest audio gets.
    """

    beam_size: int = 4
    nbest: int = 1
    length_penalty: float = 1.0
    max_tokens: int | None = None
    tokens_per_second: float = 15.0
    min_tokens: int = 10

    def __post_init__(self) -> None:
        if self.beam_size < 1 or not 1 <= self.nbest <= self.beam_size:
            raise InputError(f"nbest {self.nbest} must lie between 1 and beam_size {self.beam_size}")
        bound = 1 if self.max_tokens is None else self.max_tokens
        if bound < 1 or self.min_tokens < 1 or self.tokens_per_second <= 0:
            raise InputError("max_tokens, min_tokens and tokens_per_second must be positive")

    def limit(self, audio_seconds: float) -> int:
        """Return the most tokens of an utterance, which depend on its duration, not on its compressed length."""
        allowed = max(self.min_tokens, int(audio_seconds * self.tokens_per_second))
        return allowed if self.max_tokens is None else min(self.max_tokens, allowed)

    def explain_cut(self, num_tokens: int, audio_seconds: float) -> str:
        """Name what cut the text of an utterance at so many tokens."""
        limit = self.limit(audio_seconds)
        if num_tokens < limit:
            return f"{num_tokens} tokens, all that the LLM's context leaves"
        is_bound = self.max_tokens == limit < replace(self, max_tokens=None).limit(audio_seconds)
        return f"max_tokens {limit}" if is_bound else f"{limit} tokens, tokens_per_second {self.tokens_per_second:g}"


class Hypothesis(NamedTuple):
    """Token ids without the end of sequence, the score after length penalty in nats, and whether the limit cut it."""

    tokens: list[int]
    score: float
    is_cut: bool = False


class Beams(NamedTuple):
    """The search's state for A utterances still running; t tokens have been written.

    Attributes:
        tokens: Running hypotheses (A, K, t).
        scores: Their log-probabilities (A, K).
        parents: Which hypothesis of the step before each continues (A, K), int64.
        history: Which of the K t token columns of the cache belong to each hypothesis (A, K, K t), bool.
        done_tokens: Finished hypotheses (A, K, t), end of sequence included, padded with -1.
        done_scores: Their scores after length penalty (A, K), IMPOSSIBLE where none.
    """

    tokens: Tensor
    scores: Tensor
    parents: Tensor
    history: Tensor
    done_tokens: Tensor
    done_scores: Tensor

    def select(self, rows: Tensor) -> Beams:
        """Keep some utterances."""
        return Beams(*(tensor[rows] for tensor in self))


class Candidates(NamedTuple):
    """The best continuations of an utterance's hypotheses together, best first, (A, n) each.

    Attributes:
        scores: Log-probability of the whole hypothesis.
        parents: Which hypothesis it continues.
        tokens: The token written.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor


class Scorer(Protocol):
    """What the search needs of a model."""

    def candidates(self, beams: Beams, number: int) -> Candidates:
        """Return the best `number` continuations of the running hypotheses; called once a step."""

    def select(self, rows: Tensor) -> None:
        """Keep the state of some utterances."""


@torch.no_grad()
def run_search(scorer: Scorer, limits: Tensor, eos_token_id: int, config: SearchConfig) -> list[list[Hypothesis]]:
    """Search with any model.

    The rules are those of `generate` in transformers (early_stopping=False), for each utterance. A step has 2 K
    candidates; those that end, among the best K, are finished. An utterance is done when its best running hypothesis
    cannot beat its worst finished one at the present length; then it leaves the batch.

    Args:
        scorer: The model, with the utterances it scores.
        limits: Most tokens per utterance (B,), int64, end of sequence included, each at least 1.
        eos_token_id: End of sequence.
        config: Settings of the search.

    Returns:
        Per utterance its hypotheses, best first, `config.nbest` of them (fewer only if fewer ended).
    """
    batch = len(limits)
    beams = _start(batch, config.beam_size, limits.device)
    alive = torch.arange(batch, device=limits.device)
    results: list[list[Hypothesis]] = [[] for _ in range(batch)]
    step = 0
    while True:
        step += 1
        beams, ended = _advance(beams, scorer.candidates(beams, 2 * config.beam_size), limits, eos_token_id, config)
        finished = _finished(beams, ended, step, config)
        if bool(finished.any()):
            rows = finished.nonzero()[:, 0]
            for row, hypotheses in zip(alive[rows].tolist(), _collect(beams.select(rows), eos_token_id), strict=True):
                results[row] = hypotheses[: config.nbest]
            rows = (~finished).nonzero()[:, 0]
            if len(rows) == 0:
                return results
            scorer.select(rows)
            beams, alive, limits = beams.select(rows), alive[rows], limits[rows]


def _start(batch: int, beam: int, device: torch.device) -> Beams:
    # Only the first of the K equal beginnings counts; otherwise the first step would choose the best token K times.
    scores = torch.full((batch, beam), IMPOSSIBLE, device=device)
    done_scores = scores.clone()
    scores[:, 0] = 0.0
    tokens = torch.zeros(batch, beam, 0, dtype=torch.long, device=device)
    return Beams(tokens, scores, torch.zeros_like(scores).long(), tokens.bool(), tokens.clone(), done_scores)


def _advance(
    beams: Beams, candidates: Candidates, limits: Tensor, eos_token_id: int, config: SearchConfig
) -> tuple[Beams, Tensor]:
    """Write one token; return the new state and which utterances have no hypothesis left to continue (A,)."""
    beam, step = config.beam_size, beams.tokens.shape[2] + 1
    scores, parents, tokens = candidates
    extended = torch.cat((_gather(beams.tokens, parents), tokens[:, :, None]), dim=2)  # (A, 2 K, t)
    ends = (tokens == eos_token_id) | (step >= limits)[:, None]

    # Only candidates among the best K finish; the others make sure that K can continue.
    done_now = scores / step**config.length_penalty
    done_now = done_now.masked_fill(~ends, IMPOSSIBLE)
    done_now[:, beam:] = IMPOSSIBLE
    done_scores, kept = torch.cat((beams.done_scores, done_now), dim=1).topk(beam)
    padded = torch.nn.functional.pad(beams.done_tokens, (0, 1), value=-1)
    done_tokens = _gather(torch.cat((padded, extended), dim=1), kept)

    running, kept = scores.masked_fill(ends, IMPOSSIBLE).topk(beam)
    parents = parents.gather(1, kept)
    own = torch.eye(beam, dtype=torch.bool, device=parents.device).expand(len(parents), -1, -1)
    history = torch.cat((_gather(beams.history, parents), own), dim=2)  # (A, K, K t)
    return Beams(_gather(extended, kept), running, parents, history, done_tokens, done_scores), ends.all(1)


def _finished(beams: Beams, ended: Tensor, step: int, config: SearchConfig) -> Tensor:
    """Tell which utterances are done (A,): none of their hypotheses can continue, or beat the worst finished one."""
    if config.beam_size == 1:
        return ended | (beams.done_scores[:, 0] > IMPOSSIBLE)  # greedy ends at its first end of sequence
    worst = beams.done_scores.min(1).values
    return ended | (beams.scores[:, 0] / step**config.length_penalty <= worst)


def _collect(beams: Beams, eos_token_id: int) -> list[list[Hypothesis]]:
    """Finished hypotheses of each utterance, best first, without the end of sequence."""
    collected = []
    for tokens, scores in zip(beams.done_tokens.tolist(), beams.done_scores.tolist(), strict=True):
        kept = [(row, score) for row, score in zip(tokens, scores, strict=True) if score > IMPOSSIBLE / 2]
        collected.append(
            [Hypothesis([t for t in row if t not in (eos_token_id, -1)], s, eos_token_id not in row) for row, s in kept]
        )
    return collected


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of (A, K, n) chosen by (A, J): (A, J, n)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
