"""Minimum Bayes risk against a plain loop."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF

from speechllama.decode.risk import Utility, bleu_utility, chrf_utility, order_by_risk
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import Translation
from speechllama.text.targets import TARGETS

WORDS = ["the", "dog", "sleeps", "a", "cat", "slept", "here"]


def chrf(hypothesis: str, reference: str) -> float:
    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def bleu(hypothesis: str, reference: str) -> float:
    return float(BLEU(effective_order=True).sentence_score(hypothesis, [reference]).score)


def draw_nbest(seed: int, count: int) -> list[Translation]:
    """Hypotheses with texts that resemble each other, some of them twice; best score first."""
    numbers = random.Random(seed)
    found: dict[tuple[int, ...], Translation] = {}
    entries: list[Translation] = []
    for _ in range(count):
        if entries and numbers.random() < 0.3:
            entries.append(numbers.choice(entries))
            continue
        tokens = tuple(numbers.choices(range(len(WORDS)), k=numbers.randint(1, 5)))
        text = " ".join(WORDS[token] for token in tokens)
        is_cut = numbers.random() < 0.3
        entry = Translation(text, [*tokens], -numbers.random() * 3, is_cut)
        entries.append(found.setdefault(tokens, entry))  # drawn again, a text has the same score
    return sorted(entries, key=lambda entry: -entry.score)


def choose(nbest: list[Translation], config: SearchConfig, utility: Utility) -> list[tuple[str, float]]:
    """Texts and expected utilities, by the definition."""
    weights = []
    for place, entry in enumerate(nbest):
        if config.mbr_weights == "uniform":
            weights.append(1.0)
        elif any(other.tokens == entry.tokens for other in nbest[:place]):
            weights.append(0.0)
        else:
            length = len(entry.tokens) + (0 if entry.is_cut else 1)
            weights.append(math.exp(entry.score * length**config.length_penalty))
    expected: dict[str, float] = {}
    for entry in nbest:
        if entry.text not in expected:
            pairs = zip(weights, nbest, strict=True)
            total = sum(weight * utility(entry.text, other.text) for weight, other in pairs)
            expected[entry.text] = total / sum(weights)
    return sorted(expected.items(), key=lambda item: -round(item[1], 6))


@pytest.mark.parametrize("weights", ["uniform", "posterior"])
@pytest.mark.parametrize("kind", ["chrf", "bleu"])
@pytest.mark.parametrize("seed", range(5))
def test_texts_are_in_the_order_of_their_expected_utility(seed: int, kind: Any, weights: Any) -> None:
    nbest = draw_nbest(seed, 8)
    config = SearchConfig(num_samples=8, mbr=kind, mbr_weights=weights, length_penalty=[0.0, 1.0, 0.7, 2.0, 1.0][seed])
    found = order_by_risk(nbest, config, chrf_utility() if kind == "chrf" else bleu_utility(TARGETS["en"]))
    expected = choose(nbest, config, chrf if kind == "chrf" else bleu)
    assert [entry.text for entry in found] == [text for text, _ in expected]
    assert [entry.utility for entry in found] == pytest.approx([value for _, value in expected])
    for entry in found:
        [own] = {other.score for other in nbest if other.text == entry.text and other.tokens == entry.tokens}
        assert entry.score == own


def test_the_text_in_the_middle_wins_over_the_most_probable_one() -> None:
    texts = ["nothing of the kind", "the dog sleeps here", "the dog sleeps there", "a dog sleeps here"]
    nbest = [Translation(text, [place], -0.1 * place) for place, text in enumerate(texts)]
    found = order_by_risk(nbest, SearchConfig(mbr="chrf"), chrf_utility())
    assert found[0].text == "the dog sleeps here" and found[-1].text == texts[0]
    sharp = [nbest[0]._replace(score=9.0), *nbest[1:]]
    assert order_by_risk(sharp, SearchConfig(mbr="chrf", mbr_weights="posterior"), chrf_utility())[0].text == texts[0]


def test_equal_utilities_keep_the_order_of_the_scores() -> None:
    nbest = [Translation(text, [place], -1.0 * place) for place, text in enumerate(["xx", "yy", "zz"])]
    assert [entry.text for entry in order_by_risk(nbest, SearchConfig(mbr="chrf"), chrf_utility())] == [
        "xx",
        "yy",
        "zz",
    ]


def test_empty_texts_are_equal_to_each_other() -> None:
    nbest = [Translation("words", [1, 2], -0.1), Translation("", [], -0.2), Translation("", [3], -0.3)]
    found = order_by_risk(nbest, SearchConfig(mbr="chrf"), chrf_utility())
    assert [(entry.text, entry.tokens) for entry in found] == [("", []), ("words", [1, 2])]
    assert [entry.utility for entry in found] == pytest.approx([200 / 3, 100 / 3])


def test_bleu_cuts_words_as_the_language_needs() -> None:
    assert bleu_utility(TARGETS["zh"])("狗在睡觉。", "狗在睡觉了。") > 40
    assert bleu_utility(TARGETS["en"])("狗在睡觉。", "狗在睡觉了。") == 0
