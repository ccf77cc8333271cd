"""Sampling against transformers: what is drawn from, which texts are drawn, and how they score."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from speechllama.decode.joint_search import JointSearchConfig, search_states
from speechllama.decode.sampling import Sampler
from speechllama.decode.search import LLMSearch, SearchConfig
from speechllama.llm.llm import LLM
from test.decode.generated import EOS, PROMPTS, embed, generate

NAMES = ["one", "two", "three", "four"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_p": 0.8},
    {"top_k": 3},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.9},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_drawn_from_is_what_the_processors_of_transformers_leave(settings: dict[str, Any]) -> None:
    scores = 3.0 * torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(1))
    processors = LogitsProcessorList()
    if "temperature" in settings:
        processors.append(TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        processors.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        processors.append(TopPLogitsWarper(settings["top_p"]))
    found = Sampler(SearchConfig(num_samples=3, **settings), ["a", "b"]).probabilities(scores)
    for row in range(2):
        expected = processors(torch.LongTensor(3, 0), scores[row]).softmax(-1)
        assert torch.equal(found[row], expected)


def test_tokens_come_as_often_as_they_are_probable_and_never_where_they_are_not() -> None:
    probabilities = [0.0, 0.5, 0.0, 0.2, 0.3, 0.0]
    scores = torch.tensor(probabilities).log().expand(1, 20_000, -1)
    drawn = Sampler(SearchConfig(num_samples=20_000), ["x"]).draw(scores, torch.zeros(1, 20_000))
    counts = Counter(drawn.tokens[0].tolist())
    assert set(counts) == {1, 3, 4}
    for token, count in counts.items():
        assert count / 20_000 == pytest.approx(probabilities[token], abs=0.01)
    assert drawn.scores[0, 0] == scores[0, 0, drawn.tokens[0, 0]]


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (1.0 - 2.0**-53, 3)])
def test_the_ends_of_the_range_draw_tokens_that_have_a_probability(
    number: float, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random.Random, "random", lambda self: number)
    scores = torch.tensor([[[-torch.inf, 0.1, -torch.inf, 0.7, -torch.inf]]])
    assert Sampler(SearchConfig(num_samples=1), ["x"]).draw(scores, torch.zeros(1, 1)).tokens.item() == token


@pytest.mark.filterwarnings("ignore:Passing `")
@pytest.mark.parametrize("settings", [*SETTINGS, {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "top_k": 5}])
def test_samples_are_those_that_generate_draws_with_the_same_numbers(
    llm: LLM, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SearchConfig(num_samples=3, nbest=3, length_penalty=0.5, **settings)
    limits = torch.tensor([12, 5, 20, 1])
    found = LLMSearch(llm, "causal", config)(embed(llm, PROMPTS), limits, NAMES)
    for name, prompt, limit, nbest in zip(NAMES, PROMPTS, limits.tolist(), found, strict=True):
        numbers = random.Random(f"{config.sample_seed} {name}")

        def draw(probabilities: torch.Tensor, num_samples: int, numbers: random.Random = numbers) -> torch.Tensor:
            rows = [[numbers.random()] for _ in range(len(probabilities))]
            return (probabilities.double().cumsum(-1) <= torch.tensor(rows).double()).sum(-1, keepdim=True)

        monkeypatch.setattr(torch, "multinomial", draw)
        expected = generate(llm, prompt, limit, config)
        assert sorted(entry.tokens for entry in nbest) == sorted(tokens for tokens, _ in expected)
        assert [entry.score for entry in nbest] == sorted((entry.score for entry in nbest), reverse=True)


def test_samples_score_what_the_model_gives_them_whatever_is_drawn_from(llm: LLM) -> None:
    config = SearchConfig(num_samples=5, nbest=5, length_penalty=0.0, temperature=1.4, top_k=40)
    [nbest] = LLMSearch(llm, "causal", config)(embed(llm, PROMPTS[:1]), torch.tensor([15]), ["x"])
    for entry in nbest:
        tokens = entry.tokens + [EOS] * (not entry.is_cut)
        with torch.no_grad():
            logits = llm.model(torch.tensor([PROMPTS[0] + tokens])).logits[0, len(PROMPTS[0]) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(tokens)), tokens].sum().item()
        assert entry.score == pytest.approx(expected, abs=1e-3)


def test_neither_the_batch_nor_its_order_changes_a_sample_but_name_and_seed_do(llm: LLM) -> None:
    config, limits = SearchConfig(num_samples=4, nbest=4), torch.tensor([12, 30, 20, 3])
    search = LLMSearch(llm, "causal", config)
    together = [[entry.tokens for entry in nbest] for nbest in search(embed(llm, PROMPTS), limits, NAMES)]
    for row, prompt in enumerate(PROMPTS):
        [single] = search(embed(llm, [prompt]), limits[row : row + 1], NAMES[row : row + 1])
        assert [entry.tokens for entry in single] == together[row]
    other = search(embed(llm, PROMPTS[:2]), limits[:2], ["else", "two"])
    assert [entry.tokens for entry in other[0]] != together[0]
    assert [entry.tokens for entry in other[1]] == together[1]
    seeded = LLMSearch(llm, "causal", SearchConfig(num_samples=4, nbest=4, sample_seed=2))
    assert [entry.tokens for entry in seeded(embed(llm, PROMPTS[:1]), limits[:1], NAMES[:1])[0]] != together[0]


def test_a_temperature_near_zero_writes_the_greedy_text(llm: LLM) -> None:
    limits = torch.tensor([12, 5, 20, 1])
    greedy = LLMSearch(llm, "causal", SearchConfig(beam_size=1))(embed(llm, PROMPTS), limits)
    config = SearchConfig(num_samples=2, nbest=2, temperature=1e-4)
    drawn = LLMSearch(llm, "causal", config)(embed(llm, PROMPTS), limits, NAMES)
    for one, samples in zip(greedy, drawn, strict=True):
        assert [entry.tokens for entry in samples] == [one[0].tokens] * 2
        assert [entry.score for entry in samples] == pytest.approx([one[0].score] * 2, abs=1e-4)


def test_the_encoder_decoder_draws_from_its_joint_score(tiny_seq2seq: Any) -> None:
    speech = torch.randn(2, 30, 10, generator=torch.Generator().manual_seed(4))
    limits, names = torch.tensor([1, 2]), ["one", "two"]
    with torch.no_grad():
        memory = tiny_seq2seq.encode(speech, torch.tensor([30, 24]))
    settings: dict[str, Any] = {"length_penalty": 0.0, "num_proposed": 100}
    beam = JointSearchConfig(30, nbest=30, **settings)
    every = {tuple(e.tokens): e.score for e in search_states(tiny_seq2seq, memory, limits, beam)[0]}
    samples = JointSearchConfig(num_samples=4000, nbest=4000, **settings)
    drawn, other = search_states(tiny_seq2seq, memory, limits, samples, names)
    counts = Counter(tuple(entry.tokens) for entry in drawn)
    whole = sum(torch.tensor(list(every.values())).exp().tolist())
    for tokens, score in every.items():  # at the first token, the joint scores of all texts are there
        share = float(torch.tensor(score).exp()) / whole
        assert counts[tokens] / 4000 == pytest.approx(share, abs=0.03)
    assert all(entry.score == pytest.approx(every[tuple(entry.tokens)], abs=1e-4) for entry in drawn)
    [alone] = search_states(tiny_seq2seq, type(memory)(*(part[1:] for part in memory)), limits[1:], samples, names[1:])
    assert [entry.tokens for entry in alone] == [entry.tokens for entry in other]
