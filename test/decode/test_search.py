"""The search against `generate` of transformers, one by one and in batches, and its own rules."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.decode.search import SearchConfig, search
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from test.decode.generated import EOS, PROMPTS, embed, generate
from test.llm.families import find


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beam", [1, 2, 4, 7])
def test_a_batch_equals_generate_on_each_utterance(llm: LLM, beam: int, length_penalty: float) -> None:
    config = SearchConfig(beam, nbest=beam, length_penalty=length_penalty)
    limits = torch.tensor([12, 5, 20, 1])
    found = search(llm, embed(llm, PROMPTS), limits, "causal", config)
    for prompt, limit, nbest in zip(PROMPTS, limits.tolist(), found, strict=True):
        expected = generate(llm, prompt, limit, config)
        assert [hypothesis.tokens for hypothesis in nbest] == [tokens for tokens, _ in expected]
        if beam > 1:
            assert [h.score for h in nbest] == pytest.approx([score for _, score in expected], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("name", ["mistral", "phi3", "ministral", "gemma2", "gemma3_text", "gpt_oss", "llama4_text"])
def test_windows_and_chunks_are_those_of_generate(name: str, beam: int) -> None:
    llm = LLM(LLMConfig("tiny"), model=find(name).build()).eval()  # its window, or chunk, is 4 positions
    config, limits = SearchConfig(beam, nbest=beam), torch.tensor([12, 5, 20, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # transformers 5.24 renamed the argument of the cache
        found = search(llm, embed(llm, PROMPTS), limits, "causal", config)
    for prompt, limit, nbest in zip(PROMPTS, limits.tolist(), found, strict=True):
        expected = generate(llm, prompt, limit, config)
        assert [hypothesis.tokens for hypothesis in nbest] == [tokens for tokens, _ in expected]


@pytest.mark.parametrize("mask", ["causal", "non_causal"])
def test_batch_and_order_never_change_a_hypothesis(llm: LLM, mask: Any) -> None:
    config = SearchConfig(4, nbest=4)
    limits = torch.tensor([12, 30, 20, 3])
    together = search(llm, embed(llm, PROMPTS), limits, mask, config)
    for row, prompt in enumerate(PROMPTS):
        single = search(llm, embed(llm, [prompt]), limits[row : row + 1], mask, config)[0]
        assert [hypothesis.tokens for hypothesis in single] == [hypothesis.tokens for hypothesis in together[row]]
        assert [h.score for h in single] == pytest.approx([h.score for h in together[row]], abs=1e-4)


def test_scores_are_the_log_probabilities_of_the_tokens(llm: LLM) -> None:
    config = SearchConfig(4, nbest=4, length_penalty=0.0)
    prompt, limit = PROMPTS[0], 15
    for hypothesis in search(llm, embed(llm, [prompt]), torch.tensor([limit]), "causal", config)[0]:
        ended = len(hypothesis.tokens) < limit
        tokens = hypothesis.tokens + [EOS] * ended
        with torch.no_grad():
            logits = llm.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        total = logits.log_softmax(-1)[range(len(tokens)), tokens].sum().item()
        assert hypothesis.score == pytest.approx(total, abs=1e-3)


def test_nbest_is_sorted_and_without_twins(llm: LLM) -> None:
    nbest = search(llm, embed(llm, PROMPTS[:1]), torch.tensor([20]), "causal", SearchConfig(7, nbest=7))[0]
    scores = [hypothesis.score for hypothesis in nbest]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(hypothesis.tokens) for hypothesis in nbest}) == len(nbest)


@pytest.mark.parametrize(("seconds", "limit"), [(0.1, 10), (2.0, 30), (60.0, 900)])
def test_limits_follow_the_audio_from_an_absolute_number_on(seconds: float, limit: int) -> None:
    assert SearchConfig().limit(seconds) == limit
    assert SearchConfig(max_tokens=20).limit(seconds) == min(20, limit)
    assert SearchConfig().limit(seconds, 2) == 2 * limit, "two texts in one output"
    assert SearchConfig(max_tokens=20).limit(seconds, 2) == 20, "together, they have no more than the maximum"


@pytest.mark.parametrize(
    ("config", "num_texts", "num_tokens", "words"),
    [
        (SearchConfig(max_tokens=200), 1, 200, "max_tokens 200"),
        (SearchConfig(max_tokens=2000), 1, 900, "900 tokens, tokens_per_second 15"),
        (SearchConfig(), 1, 900, "900 tokens, tokens_per_second 15"),
        (SearchConfig(), 1, 256, "256 tokens, all that the LLM's context leaves"),
        (SearchConfig(max_tokens=200), 2, 200, "max_tokens 200"),
        (SearchConfig(max_tokens=1000), 2, 1000, "max_tokens 1000"),
        (SearchConfig(), 2, 1800, "1800 tokens, tokens_per_second 15 for each of 2 texts"),
        (SearchConfig(), 2, 900, "900 tokens, all that the LLM's context leaves"),
    ],
)
def test_the_limit_that_cut_a_text_is_named(config: SearchConfig, num_texts: int, num_tokens: int, words: str) -> None:
    assert config.explain_cut(num_tokens, 60.0, num_texts) == words


@pytest.mark.parametrize("arguments", [{"beam_size": 0}, {"beam_size": 2, "nbest": 3}, {"max_tokens": 0}])
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        SearchConfig(**arguments)


def test_the_tokenizer_of_the_trained_llama_has_an_end(shared_data: Path) -> None:
    assert load_tokenizer(str(shared_data / "llama" / "stories260K")).eos_token_id == EOS
