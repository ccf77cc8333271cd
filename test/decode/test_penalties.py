"""Penalties against plain loops, and the search with them against `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from speechllama.decode.joint_search import JointSearchConfig, joint_search
from speechllama.decode.penalties import Penalties
from speechllama.decode.search import SearchConfig, search
from speechllama.llm.llm import LLM
from test.decode.generated import PROMPTS, embed, generate

SETTINGS: list[dict[str, Any]] = [
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "length_penalty": 0.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"repetition_penalty": 0.8, "no_repeat_ngram_size": 2, "length_penalty": 0.5},  # wants to repeat, and must not
]


def penalise(text: list[int], scores: list[float], penalty: float, size: int) -> list[float]:
    """Scores of the next token after a text, token by token."""
    changed = []
    for token, score in enumerate(scores):
        ngrams = [text[place : place + size] for place in range(len(text) - size + 1)]
        if size and [*text[len(text) - size + 1 :], token] in ngrams and len(text) >= size:
            changed.append(-float("inf"))
        elif token in text:
            changed.append(score / penalty if score > 0 else score * penalty)
        else:
            changed.append(score)
    return changed


@pytest.mark.parametrize("size", [0, 1, 2, 4])
@pytest.mark.parametrize("penalty", [1.0, 1.5, 0.7])
@pytest.mark.parametrize("length", [0, 1, 3, 12])
def test_each_hypothesis_is_penalised_for_its_own_text(size: int, penalty: float, length: int) -> None:
    random = torch.Generator().manual_seed(length)
    tokens = torch.randint(0, 5, (2, 3, length), generator=random)
    scores = torch.randn(2, 3, 6, generator=random)
    before = scores.clone()
    penalties = Penalties(SearchConfig(repetition_penalty=penalty, no_repeat_ngram_size=size))
    assert bool(penalties) == (size > 0 or penalty != 1.0)
    found = penalties(tokens, scores)
    for row, column in [(row, column) for row in range(2) for column in range(3)]:
        expected = penalise(tokens[row, column].tolist(), scores[row, column].tolist(), penalty, size)
        assert found[row, column].tolist() == pytest.approx(expected)
    assert torch.equal(scores, before), "scores of the model are not changed in place"


@pytest.mark.filterwarnings("ignore:Passing `")  # transformers says that embeddings are not penalised
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("beam", [1, 4])
def test_a_batch_with_penalties_equals_generate_on_each_utterance(
    llm: LLM, beam: int, settings: dict[str, Any]
) -> None:
    config = SearchConfig(beam, nbest=beam, **settings)
    limits = torch.tensor([12, 5, 25, 1])
    found = search(llm, embed(llm, PROMPTS), limits, "causal", config)
    if config.no_repeat_ngram_size == 1 or config.repetition_penalty != 1.0:
        plain = search(llm, embed(llm, PROMPTS), limits, "causal", SearchConfig(beam, nbest=beam))
        assert [[h.tokens for h in nbest] for nbest in found] != [[h.tokens for h in nbest] for nbest in plain]
    for prompt, limit, nbest in zip(PROMPTS, limits.tolist(), found, strict=True):
        expected = generate(llm, prompt, limit, config)
        assert [hypothesis.tokens for hypothesis in nbest] == [tokens for tokens, _ in expected]
        assert [h.score for h in nbest] == pytest.approx([score for _, score in expected], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_batch_and_order_never_change_a_penalised_hypothesis(llm: LLM, beam: int) -> None:
    config = SearchConfig(beam, nbest=beam, no_repeat_ngram_size=2, repetition_penalty=1.1)
    limits = torch.tensor([12, 30, 20, 3])
    together = search(llm, embed(llm, PROMPTS), limits, "non_causal", config)
    for row, prompt in enumerate(PROMPTS):
        single = search(llm, embed(llm, [prompt]), limits[row : row + 1], "non_causal", config)[0]
        assert [hypothesis.tokens for hypothesis in single] == [hypothesis.tokens for hypothesis in together[row]]


def joint_score(network: Any, speech: torch.Tensor, tokens: list[int], ended: bool, config: JointSearchConfig) -> float:
    """Attention's log-probabilities, penalised one by one, by teacher forcing."""
    with torch.no_grad():
        memory = network.encode(speech[None], torch.tensor([len(speech)]))
        read = torch.tensor([[network.eos, *tokens]])
        logits, _ = network.decoder(memory.states, memory.lengths, read, torch.tensor([len(tokens) + 1]))
    total = 0.0
    for place, label in enumerate([*tokens, network.eos] if ended else tokens):
        scores = logits[0, place].log_softmax(-1).tolist()
        changed = penalise(tokens[:place], scores, config.repetition_penalty, config.no_repeat_ngram_size)
        total += changed[label]
    return total


@pytest.mark.parametrize("beam", [1, 3])
def test_the_encoder_decoder_is_penalised_in_its_attention(tiny_seq2seq: Any, beam: int) -> None:
    speech = torch.randn(3, 60, 10, generator=torch.Generator().manual_seed(4))
    frames, limits = torch.tensor([60, 40, 20]), torch.tensor([12, 9, 5])
    settings: dict[str, Any] = {"nbest": beam, "length_penalty": 0.0, "ctc_weight": 0.0}
    config = JointSearchConfig(beam, **settings, repetition_penalty=1.2, no_repeat_ngram_size=2)
    found = joint_search(tiny_seq2seq, speech, frames, limits, config)
    assert found != joint_search(tiny_seq2seq, speech, frames, limits, JointSearchConfig(beam, **settings))
    for row, nbest in enumerate(found):
        for tokens, score, is_cut in nbest:
            assert len({*zip(tokens, tokens[1:], strict=False)}) == max(len(tokens) - 1, 0), "a pair comes twice"
            own = speech[row, : frames[row]]
            assert score == pytest.approx(joint_score(tiny_seq2seq, own, tokens, not is_cut, config), abs=1e-3)
