"""The joint search against plain loops: teacher forcing for attention, all alignments for CTC."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from speechllama.decode.joint_search import JointSearchConfig, joint_search

CTC_WEIGHT = 0.4
FRAMES = torch.tensor([15, 12, 9])  # feature frames; 4, 3 and 3 encoder frames


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """Three utterances; padding holds noise."""
    return torch.randn(3, 15, 10, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def joint_score(tiny_seq2seq: Any, ctc_oracle: Any) -> Callable[..., float]:
    """The score of one hypothesis of one utterance, by its definition."""
    return functools.partial(score_hypothesis, tiny_seq2seq, ctc_oracle)


def score_hypothesis(
    network: Any, ctc_oracle: Any, speech: torch.Tensor, units: list[int], ended: bool, weight: float
) -> float:
    """Attention by teacher forcing, CTC by all alignments, of features (T, F)."""
    with torch.no_grad():
        memory = network.encode(speech[None], torch.tensor([len(speech)]))
        read = torch.tensor([[network.eos, *units]])
        logits, _ = network.decoder(memory.states, memory.lengths, read, torch.tensor([len(units) + 1]))
    labels = [*units, network.eos] if ended else units
    attention = sum(float(logits[0, place].log_softmax(-1)[label]) for place, label in enumerate(labels))
    if not weight:
        return attention
    score = ctc_oracle.whole if ended else ctc_oracle.prefix
    ctc = score(memory.ctc_log_probs[0].double(), units)
    return (1 - weight) * attention + weight * float(torch.tensor(ctc).double().log())


def config(beam: int, **changes: Any) -> JointSearchConfig:
    settings = {"nbest": beam, "length_penalty": 0.0, "ctc_weight": CTC_WEIGHT, **changes}
    return JointSearchConfig(beam_size=beam, **settings)


@pytest.mark.parametrize("weight", [0.0, 0.4, 0.9])
def test_the_score_of_each_hypothesis_is_what_its_definition_says(
    tiny_seq2seq: Any, speech: torch.Tensor, weight: float, joint_score: Callable[..., float]
) -> None:
    limits = torch.tensor([4, 3, 3])
    found = joint_search(tiny_seq2seq, speech, FRAMES, limits, config(3, ctc_weight=weight))
    assert {len(nbest) for nbest in found} == {3}
    for row, nbest in enumerate(found):
        for tokens, score, is_cut in nbest:
            own = speech[row, : FRAMES[row]]
            ended = len(tokens) < int(limits[row])
            assert is_cut is not ended
            assert score == pytest.approx(joint_score(own, tokens, ended, weight), abs=1e-3)


def test_a_wide_beam_finds_the_best_of_all_texts(
    tiny_seq2seq: Any, speech: torch.Tensor, joint_score: Callable[..., float]
) -> None:
    limit, own = 3, speech[2, : FRAMES[2]]
    wide = config(200, num_proposed=8, nbest=5)
    nbest = joint_search(tiny_seq2seq, own[None], FRAMES[2:], torch.tensor([limit]), wide)[0]
    texts = [list(units) for n in range(limit + 1) for units in itertools.product(range(1, 8), repeat=n)]
    scores = {tuple(t): joint_score(own, t, len(t) < limit, CTC_WEIGHT) for t in texts}
    expected = sorted(scores, key=lambda units: -scores[units])[:5]
    assert [tuple(hypothesis.tokens) for hypothesis in nbest] == expected


@pytest.mark.parametrize("beam", [1, 4])
def test_batch_and_padding_never_change_a_hypothesis(tiny_seq2seq: Any, speech: torch.Tensor, beam: int) -> None:
    limits = torch.tensor([9, 5, 7])
    together = joint_search(tiny_seq2seq, speech, FRAMES, limits, config(beam))
    noisy = torch.cat((speech, torch.randn(3, 30, 10)), dim=1)
    assert [[h.tokens for h in nbest] for nbest in joint_search(tiny_seq2seq, noisy, FRAMES, limits, config(beam))] == [
        [h.tokens for h in nbest] for nbest in together
    ]
    for row, nbest in enumerate(together):
        own = speech[row : row + 1, : FRAMES[row]]
        one = slice(row, row + 1)
        single = joint_search(tiny_seq2seq, own, FRAMES[one], limits[one], config(beam))[0]
        assert [h.tokens for h in single] == [h.tokens for h in nbest]
        assert [h.score for h in single] == pytest.approx([h.score for h in nbest], abs=1e-4)


def test_the_weight_of_training_is_taken_where_none_is_given(tiny_seq2seq: Any, speech: torch.Tensor) -> None:
    limits = torch.tensor([4, 4, 4])
    own = joint_search(tiny_seq2seq, speech, FRAMES, limits, config(3, ctc_weight=None))
    given = joint_search(tiny_seq2seq, speech, FRAMES, limits, config(3, ctc_weight=tiny_seq2seq.config.ctc_weight))
    assert own == given


def test_blank_and_the_end_are_never_written(tiny_seq2seq: Any, speech: torch.Tensor) -> None:
    found = joint_search(tiny_seq2seq, speech, FRAMES, torch.tensor([9, 9, 9]), config(4, ctc_weight=0.0))
    written = {token for nbest in found for hypothesis in nbest for token in hypothesis.tokens}
    assert written and written <= set(range(1, 8))


@pytest.mark.parametrize(("name", "value"), [("ctc_weight", 1.0), ("ctc_weight", -0.1), ("num_proposed", 0)])
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} {value} must"):
        dataclasses.replace(JointSearchConfig(), **{name: value})
