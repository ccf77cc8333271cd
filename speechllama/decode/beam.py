"""The rules of greedy and beam search, and of sampling, for any model that scores continuations.

    Scorer -> n-best token sequences

The K hypotheses of an utterance are K query columns of one row, not K rows: they share the keys and values of the
audio, and each new token's keys are appended once. A mask says which of the earlier tokens belong to a hypothesis' own
history, so that nothing is copied or reordered when hypotheses change places. One step costs the attention over
P + K t keys an utterance, where K rows would cost K (P + t) and a copy of the cache. Samples are K columns, too, each
of which continues itself.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from speechllama.decode.search_config import SearchConfig

IMPOSSIBLE = -1.0e9  # a score that no hypothesis reaches, the same as in transformers


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
    """The best continuations of an utterance's hypotheses together, best first, or the drawn one of each; (A, n) each.

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
        """Return the best `number` continuations of the running hypotheses; called once a step.

        Where the settings are those of sampling: a continuation of each hypothesis, in their order.
        """

    def select(self, rows: Tensor) -> None:
        """Keep the state of some utterances."""


@torch.no_grad()
def run_search(scorer: Scorer, limits: Tensor, eos_token_id: int, config: SearchConfig) -> list[list[Hypothesis]]:
    """Search with any model.

    The rules are those of `generate` in transformers (early_stopping=False), for each utterance. A step has 2 K
    candidates; those that end, among the best K, are finished. An utterance is done when its best running hypothesis
    cannot beat its worst finished one at the present length; then it leaves the batch. Samples are drawn by the scorer;
    an utterance with samples is done when all of them have ended.

    Args:
        scorer: The model, with the utterances it scores.
        limits: Most tokens per utterance (B,), int64, end of sequence included, each at least 1.
        eos_token_id: End of sequence.
        config: Settings of the search.

    Returns:
        Per utterance its hypotheses, best first, `config.num_found` of them (fewer only if fewer ended).
    """
    batch = len(limits)
    beams = _start(batch, config, limits.device)
    alive = torch.arange(batch, device=limits.device)
    results: list[list[Hypothesis]] = [[] for _ in range(batch)]
    step = 0
    while True:
        step += 1
        if config.num_samples:
            beams, finished = _follow(beams, scorer.candidates(beams, config.num_samples), limits, eos_token_id, config)
        else:
            beams, ended = _advance(beams, scorer.candidates(beams, 2 * config.beam_size), limits, eos_token_id, config)
            finished = _finished(beams, ended, step, config)
        if bool(finished.any()):
            rows = finished.nonzero()[:, 0]
            for row, hypotheses in zip(alive[rows].tolist(), _collect(beams.select(rows), eos_token_id), strict=True):
                results[row] = hypotheses[: config.num_found]
            rows = (~finished).nonzero()[:, 0]
            if len(rows) == 0:
                return results
            scorer.select(rows)
            beams, alive, limits = beams.select(rows), alive[rows], limits[rows]


def _start(batch: int, config: SearchConfig, device: torch.device) -> Beams:
    scores = torch.full((batch, config.num_hypotheses), IMPOSSIBLE, device=device)
    done_scores = scores.clone()
    # Only the first of the K equal beginnings of a beam counts; otherwise the first step would choose the best token K
    # times. Samples may be equal.
    scores[:, : config.num_samples or 1] = 0.0
    tokens = torch.zeros(*scores.shape, 0, dtype=torch.long, device=device)
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


def _follow(
    beams: Beams, drawn: Candidates, limits: Tensor, eos_token_id: int, config: SearchConfig
) -> tuple[Beams, Tensor]:
    """Write the token drawn for each sample; return the new state and which utterances have all samples ended (A,).

    What is drawn after a sample's end is in its running tokens, but no longer in its finished ones.
    """
    num_samples, step = config.num_samples, beams.tokens.shape[2] + 1
    scores, parents, tokens = drawn
    extended = torch.cat((beams.tokens, tokens[:, :, None]), dim=2)  # (A, K, t)
    has_ended = beams.done_scores > IMPOSSIBLE
    ends = ((tokens == eos_token_id) | (step >= limits)[:, None]) & ~has_ended
    done_scores = torch.where(ends, scores / step**config.length_penalty, beams.done_scores)
    padded = torch.nn.functional.pad(beams.done_tokens, (0, 1), value=-1)
    done_tokens = torch.where(ends[:, :, None], extended, padded)
    own = torch.eye(num_samples, dtype=torch.bool, device=parents.device).expand(len(parents), -1, -1)
    history = torch.cat((beams.history, own), dim=2)  # (A, K, K t)
    return Beams(extended, scores, parents, history, done_tokens, done_scores), (ends | has_ended).all(1)


def _finished(beams: Beams, ended: Tensor, step: int, config: SearchConfig) -> Tensor:
    """Tell which utterances are done (A,): none of their hypotheses can continue, or beat the worst finished one."""
    if config.beam_size == 1:
        return ended | (beams.done_scores[:, 0] > IMPOSSIBLE)  # greedy ends at its first end of sequence
    worst = beams.done_scores.min(1).values
    return ended | (beams.scores[:, 0] / step**config.length_penalty <= worst)


def _collect(beams: Beams, eos_token_id: int) -> list[list[Hypothesis]]:
    """Finished hypotheses of each utterance, best first, without the end of sequence; equal ones keep their order."""
    collected = []
    for tokens, scores in zip(beams.done_tokens.tolist(), beams.done_scores.tolist(), strict=True):
        kept = [(row, score) for row, score in zip(tokens, scores, strict=True) if score > IMPOSSIBLE / 2]
        kept.sort(key=lambda entry: -entry[1])  # those of a beam are in this order; samples are not
        collected.append(
            [Hypothesis([t for t in row if t not in (eos_token_id, -1)], s, eos_token_id not in row) for row, s in kept]
        )
    return collected


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of (A, K, n) chosen by (A, J): (A, J, n)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
