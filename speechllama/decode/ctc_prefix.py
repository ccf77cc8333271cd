"""CTC prefix scores: the probability of all outputs that begin with a hypothesis.

    CTC log-probabilities (A, M, C), hypotheses (A, K) -> log-probabilities of their continuations (A, K, n)

A hypothesis g is described by two rows over the frames: the log-probability that the first m frames wrote exactly g and
ended in its last unit, or in blank. Both are linear recurrences over the frames, and the prefix probability of g c is a
sum over them; here they are cumulative sums over whole rows instead of a loop over frames. Sums of hundreds of frames
cancel, so everything is float64.

Source: Watanabe et al. 2017 (hybrid CTC/attention), algorithm 2, solved in closed form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechllama.constants import BLANK
from speechllama.model.layers import length_mask

LOWEST = -1.0e5  # in place of log 0, so that differences are finite


class CTCPrefix:
    """The state of K hypotheses of each of A utterances.

    Args:
        log_probs: Log-probabilities of the CTC units (A, M, C).
        lengths: Valid frames (A,), int64.
        beam: Hypotheses K, all empty at first.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, beam: int) -> None:
        self.log_probs = log_probs.double()
        self.lengths = lengths
        self.valid = length_mask(lengths, log_probs.shape[1])
        self.in_blank = self.log_probs[:, :, BLANK].cumsum(1)[:, None].expand(-1, beam, -1)  # (A, K, M)
        self.in_unit = torch.full_like(self.in_blank, -torch.inf)
        self.last = torch.full((len(lengths), beam), BLANK, device=lengths.device)  # no unit yet
        self.is_empty = True
        self.scores = self.in_blank.new_zeros(len(lengths), beam)  # of the hypotheses as beginnings (A, K)

    def select(self, rows: Tensor) -> None:
        """Keep some utterances."""
        for name in ("log_probs", "lengths", "valid", "in_blank", "in_unit", "last", "scores"):
            setattr(self, name, getattr(self, name)[rows])

    def score(self, units: Tensor) -> Tensor:
        """Log-probability that the whole output begins with a hypothesis and these units (A, K, n) -> (A, K, n)."""
        emitted = self._frames(units)  # (A, K, n, M)
        total = (self._ready(units) + emitted).masked_fill(~self.valid[:, None, None], -torch.inf).logsumexp(3)
        return total.clamp(min=LOWEST)

    def score_end(self) -> Tensor:
        """Log-probability that each hypothesis is the whole output (A, K)."""
        last_frame = (self.lengths - 1)[:, None, None].expand(-1, self.in_blank.shape[1], 1)
        ended = torch.logaddexp(self.in_blank, self.in_unit).gather(2, last_frame)[:, :, 0]
        return ended.clamp(min=LOWEST)

    def extend(self, parents: Tensor, units: Tensor) -> None:
        """Replace the hypotheses by continuations: parents (A, K) and the unit each adds (A, K)."""
        rows = parents[:, :, None].expand_as(self.in_blank)
        self.in_blank, self.in_unit = self.in_blank.gather(1, rows), self.in_unit.gather(1, rows)
        self.last = self.last.gather(1, parents)
        emitted, ready = self._frames(units[:, :, None])[:, :, 0], self._ready(units[:, :, None])[:, :, 0]
        self.scores = (ready + emitted).masked_fill(~self.valid[:, None], -torch.inf).logsumexp(2).clamp(min=LOWEST)
        self.in_unit = _recur(emitted, ready)
        blank = self.log_probs[:, None, :, BLANK].expand_as(emitted)
        self.in_blank = _recur(blank, F.pad(self.in_unit[:, :, :-1], (1, 0), value=-torch.inf))
        self.last, self.is_empty = units, False

    def _frames(self, units: Tensor) -> Tensor:
        """Log-probability of units (A, K, n) at each frame (A, K, n, M)."""
        beam, number = units.shape[1:]
        index = units.flatten(1)[:, None].expand(-1, self.log_probs.shape[1], -1)  # (A, M, K n)
        return self.log_probs.gather(2, index).unflatten(2, (beam, number)).permute(0, 2, 3, 1)

    def _ready(self, units: Tensor) -> Tensor:
        """Log-probability that a unit (A, K, n) may be written first at each frame (A, K, n, M).

        Before that frame exactly the hypothesis was written; after an equal unit there must be a blank between.
        """
        repeated = (units == self.last[:, :, None])[:, :, :, None]
        before = torch.where(
            repeated, self.in_blank[:, :, None], torch.logaddexp(self.in_blank, self.in_unit)[:, :, None]
        )[..., :-1]
        return F.pad(before, (1, 0), value=0.0 if self.is_empty else -torch.inf)


def _recur(factor: Tensor, entering: Tensor) -> Tensor:
    """Solve x(m) = factor(m) (x(m - 1) + entering(m)) in logarithms, over the last dimension, x(-1) = 0."""
    total = factor.cumsum(-1)
    return total + (entering - F.pad(total[..., :-1], (1, 0))).logcumsumexp(-1)
