"""CTC prefix scores against a count of all alignments."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from speechllama.decode.ctc_prefix import LOWEST, CTCPrefix

UNITS = (1, 2)
FRAMES = 5


def follow(prefix: CTCPrefix, units: list[int]) -> None:
    """Write units with every hypothesis."""
    for unit in units:
        beam = prefix.last.shape[1]
        parents = torch.arange(beam).expand(len(prefix.last), -1)
        prefix.extend(parents, torch.full_like(prefix.last, unit))


@pytest.fixture(scope="module")
def log_probs() -> torch.Tensor:
    """Three utterances (3, M, C); what comes after the shorter ones' ends is noise."""
    return (3 * torch.randn(3, FRAMES, 3, generator=torch.Generator().manual_seed(5))).log_softmax(-1)


LENGTHS = torch.tensor([FRAMES, 3, 1])


@pytest.mark.parametrize("begin", [list(p) for n in range(4) for p in itertools.product(UNITS, repeat=n)])
def test_a_prefix_scores_as_all_alignments_together(log_probs: torch.Tensor, begin: list[int], ctc_oracle: Any) -> None:
    prefix = CTCPrefix(log_probs, LENGTHS, 2)
    follow(prefix, begin)
    found = prefix.score(torch.tensor(UNITS).expand(3, 2, -1)).exp()
    ended = prefix.score_end().exp()
    for row, length in enumerate(LENGTHS.tolist()):
        own = log_probs[row, :length].double()
        expected = [ctc_oracle.prefix(own, [*begin, unit]) for unit in UNITS]
        assert found[row, 0].tolist() == pytest.approx(expected, abs=1e-6)
        assert float(ended[row, 1]) == pytest.approx(ctc_oracle.whole(own, begin), abs=1e-6)
        assert float(prefix.scores[row, 0].exp()) == pytest.approx(ctc_oracle.prefix(own, begin), abs=1e-6)


def test_hypotheses_may_change_places(log_probs: torch.Tensor, ctc_oracle: Any) -> None:
    prefix = CTCPrefix(log_probs, LENGTHS, 2)
    follow(prefix, [1])
    prefix.extend(torch.tensor([[0, 0]] * 3), torch.tensor([[2, 1]] * 3))
    prefix.extend(torch.tensor([[1, 0]] * 3), torch.tensor([[2, 1]] * 3))  # 1 1 2 and 1 2 1
    prefix.select(torch.tensor([0]))
    own = log_probs[0].double()
    expected = [ctc_oracle.prefix(own, [1, 1, 2]), ctc_oracle.prefix(own, [1, 2, 1])]
    assert prefix.scores.exp()[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_what_does_not_fit_into_the_frames_is_impossible_but_a_number(log_probs: torch.Tensor) -> None:
    prefix = CTCPrefix(log_probs, LENGTHS, 1)
    follow(prefix, [1, 1, 1, 1])  # needs seven frames
    assert prefix.scores.tolist() == [[LOWEST]] * 3
    assert prefix.score(torch.tensor([[[2]]] * 3)).tolist() == [[[LOWEST]]] * 3


def test_hundreds_of_frames_lose_no_precision() -> None:
    frames = 600
    log_probs = (8 * torch.randn(1, frames, 4, generator=torch.Generator().manual_seed(7))).log_softmax(-1)
    prefix = CTCPrefix(log_probs, torch.tensor([frames]), 1)
    units = [1 + index * 7 % 3 for index in range(40)]
    follow(prefix, units)
    loss = torch.nn.functional.ctc_loss(
        log_probs.double().transpose(0, 1), torch.tensor([units]), torch.tensor([frames]), torch.tensor([40]),
        reduction="sum",
    )  # fmt: skip
    assert float(prefix.score_end()) == pytest.approx(-float(loss), abs=1e-6)
