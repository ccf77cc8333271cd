"""Minimum Bayes risk: of several hypotheses, the one that the others resemble most.

n-best, best score first -> expected utility of each text -> n-best, highest utility first
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from sacrebleu.metrics import CHRF

from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Translation
from speechllama.text.bleu import bleu_metric
from speechllama.text.targets import Target

IDENTICAL = 100.0
Utility = Callable[[str, str], float]  # hypothesis, reference -> 0 to 100


@functools.lru_cache
def chrf_utility() -> Utility:
    """Sentence chrF of sacreBLEU, of characters only, so for any language."""
    metric = CHRF()
    return lambda hypothesis, reference: float(metric.sentence_score(hypothesis, [reference]).score)


@functools.lru_cache
def bleu_utility(target: Target) -> Utility:
    """Sentence BLEU of sacreBLEU, of the n-grams that a short text has, with the tokenizer of a target language.

    Raises:
        ValueError: The tokenizer needs what is not installed.
    """
    metric = bleu_metric(target, effective_order=True)
    return lambda hypothesis, reference: float(metric.sentence_score(hypothesis, [reference]).score)


def choose_by_risk(nbest: NBest, config: SearchConfig, written: Callable[[], Target]) -> NBest:
    """Order the hypotheses of an utterance as the settings say, and keep as many as they ask for.

    Args:
        nbest: Hypotheses, best score first; none where nothing was heard.
        config: Settings of the search.
        written: Gives the language that is written, which only BLEU asks for.

    Raises:
        ValueError: BLEU must know the language, and it is not known.
    """
    if config.mbr == "none" or not nbest:
        return nbest
    utility = chrf_utility() if config.mbr == "chrf" else bleu_utility(written())
    return order_by_risk(nbest, config, utility)[: config.nbest]


def order_by_risk(nbest: Sequence[Translation], config: SearchConfig, utility: Utility) -> NBest:
    """Order the texts of an utterance by their expected utility.

    The expected utility of a text is the mean of its utility against each hypothesis, itself included, by the
    hypotheses' weights. With equal weights, a text that was drawn twice counts twice. With posterior weights, each
    sequence of tokens counts once, in proportion to its probability. Equal texts have the utility 100, empty ones, too,
    which sacreBLEU gives 0. The cost grows with the square of the number of texts.

    Args:
        nbest: Hypotheses, best score first.
        config: Settings of the search.
        utility: How good a hypothesis is where another one is right.

    Returns:
        The texts, each once, as the hypothesis with the highest score that has it; highest utility first. Of equal
        utilities, the higher score is first, and of equal scores the one that was first.

    Source: Kumar and Byrne, 2004; with samples Eikema and Aziz, arXiv 2005.10283.
    """
    texts: dict[str, Translation] = {}
    weights: dict[str, float] = {}
    for entry, weight in zip(nbest, _weigh(nbest, config), strict=True):
        texts.setdefault(entry.text, entry)
        weights[entry.text] = weights.get(entry.text, 0.0) + weight

    def expect(text: str) -> float:
        return sum(weight * (IDENTICAL if text == other else utility(text, other)) for other, weight in weights.items())

    found = [entry._replace(utility=expect(text)) for text, entry in texts.items()]
    # Rounded, so that sums in another order are equal, too.
    return sorted(found, key=lambda entry: -round(entry.utility or 0.0, 9))


def _weigh(nbest: Sequence[Translation], config: SearchConfig) -> list[float]:
    """The weight of each hypothesis; together 1."""
    if config.mbr_weights == "uniform":
        return [1.0 / len(nbest)] * len(nbest)
    seen, logarithms = set[tuple[int, ...]](), []
    for entry in nbest:
        length = len(entry.tokens) + (not entry.is_cut)  # with the end of sequence, as the length penalty counts
        is_first = tuple(entry.tokens) not in seen
        seen.add(tuple(entry.tokens))
        logarithms.append(entry.score * length**config.length_penalty if is_first else -math.inf)
    highest = max(logarithms)
    shares = [math.exp(logarithm - highest) for logarithm in logarithms]
    return [share / sum(shares) for share in shares]
