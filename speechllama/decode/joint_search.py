"""Joint CTC/attention search of the encoder-decoder B1, in batches of utterances.

    speech (B, T, F) -> memory, CTC log-probabilities -> n-best units

A hypothesis scores (1 - w) log p_attention + w log p_CTC, where CTC scores a running hypothesis as a beginning and an
ended one as a whole. The rules of the search are those of the LLM's (`run_search`), so systems differ only in
the model. Penalties change attention's log-probabilities, before it proposes. A sample's next unit is one of the
proposals, drawn in proportion to exp(what it adds to the score); that is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechllama.decode.beam import Beams, Candidates, Hypothesis, run_search
from speechllama.decode.cached_decoder import CachedDecoder
from speechllama.decode.ctc_prefix import CTCPrefix
from speechllama.decode.rules import Rules
from speechllama.decode.search_config import SearchConfig
from speechllama.faults import InputError
from speechllama.model.seq2seq import EncoderStates, Seq2Seq


@dataclass(frozen=True)
class JointSearchConfig(SearchConfig):
    """Settings of the joint search, in addition to those of an LLM's search.

    Attributes:
        ctc_weight: Share w of CTC in the score, 0 (attention only) to below 1; None: as in training.
        num_proposed: Units of each hypothesis that attention proposes and CTC scores, at least 2 K.
    """

    ctc_weight: float | None = None
    num_proposed: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ctc_weight is not None and not 0.0 <= self.ctc_weight < 1.0:
            raise InputError(f"ctc_weight {self.ctc_weight} must lie between 0 and 1, 1 excluded")
        if self.num_proposed < 1:
            raise InputError(f"num_proposed {self.num_proposed} must be positive")


class JointScorer:
    """Attention and CTC together, over utterances that the encoder has encoded.

    Args:
        network: The encoder-decoder.
        memory: What the encoder made of the speech.
        config: Beam, weight, proposals, penalties, samples.
        names: Of the utterances, which decide their samples; without any, all draw the same numbers.
    """

    def __init__(
        self, network: Seq2Seq, memory: EncoderStates, config: JointSearchConfig, names: Sequence[str] = ()
    ) -> None:
        self.eos = network.eos
        self.weight = network.config.ctc_weight if config.ctc_weight is None else config.ctc_weight
        self.num_proposed = max(config.num_proposed, 2 * config.beam_size)
        self.rules = Rules.of(config, names or [""] * len(memory.lengths))
        self.ctc = CTCPrefix(memory.ctc_log_probs, memory.lengths, config.num_hypotheses)
        self.decoder = CachedDecoder(network, memory)

    def candidates(self, beams: Beams, number: int) -> Candidates:
        """See `Scorer`."""
        step = beams.tokens.shape[2]
        log_probs = self._attend(beams)  # (A, K, C + 1)
        if self.rules.penalties:
            log_probs = self.rules.penalties(beams.tokens, log_probs)
        if step:
            # If fewer than K hypotheses continue, the others are impossible and may have ended: CTC has no such unit.
            self.ctc.extend(beams.parents, beams.tokens[:, :, -1].clamp(max=self.eos - 1))
        num_proposed = min(self.num_proposed, self.eos - 1)  # never blank
        attention, units = log_probs[:, :, : self.eos].topk(num_proposed, dim=2)  # (A, K, n)
        attention = torch.cat((attention, log_probs[:, :, self.eos :]), dim=2)
        ctc = torch.cat((self.ctc.score(units), self.ctc.score_end()[:, :, None]), dim=2)
        gained = (ctc - self.ctc.scores[:, :, None]).to(attention.dtype)
        total = (1.0 - self.weight) * attention + self.weight * gained
        units = torch.cat((units, torch.full_like(units[:, :, :1], self.eos)), dim=2)
        if self.rules.sampler:
            drawn = self.rules.sampler.draw(total, beams.scores)
            return drawn._replace(tokens=units.gather(2, drawn.tokens[:, :, None])[:, :, 0])
        total = total + beams.scores[:, :, None]
        chosen, index = total.flatten(1).topk(min(number, total[0].numel()))
        return Candidates(chosen, index // units.shape[2], units.flatten(1).gather(1, index))

    def select(self, rows: Tensor) -> None:
        """See `Scorer`."""
        self.ctc.select(rows)
        self.decoder.select(rows)
        self.rules.select(rows)

    def _attend(self, beams: Beams) -> Tensor:
        """Log-probabilities of the decoder after each hypothesis; all see the column of the start."""
        utterances, beam, step = beams.tokens.shape
        if step:
            history = torch.nn.functional.pad(beams.history, (1, 0), value=True)
            return self.decoder.step(beams.tokens[:, :, -1], history, step)
        start = beams.tokens.new_full((utterances, 1), self.eos)
        itself = torch.ones_like(start, dtype=torch.bool)[:, :, None]
        return self.decoder.step(start, itself, 0).expand(-1, beam, -1)


@torch.no_grad()
def joint_search(
    network: Seq2Seq, speech: Tensor, speech_lengths: Tensor, limits: Tensor, config: JointSearchConfig
) -> list[list[Hypothesis]]:
    """Find the best outputs of each utterance.

    Args:
        network: The encoder-decoder, in evaluation mode.
        speech: Log-mel features (B, T, F), any padding value.
        speech_lengths: Valid frames (B,), int64.
        limits: Most units per utterance (B,), int64, the end included, each at least 1.
        config: Beam, weight, penalty, n-best.

    Returns:
        As `run_search`.
    """
    return search_states(network, network.encode(speech, speech_lengths), limits, config)


@torch.no_grad()
def search_states(
    network: Seq2Seq, memory: EncoderStates, limits: Tensor, config: JointSearchConfig, names: Sequence[str] = ()
) -> list[list[Hypothesis]]:
    """Find the best outputs of utterances that the encoder has read, or draw some; see `joint_search`."""
    return run_search(JointScorer(network, memory, config, names), limits.to(memory.states.device), network.eos, config)
