"""TER as a target language needs it: Target -> sacreBLEU's metric, or None where nothing finds its words."""

from __future__ import annotations

from sacrebleu.metrics import TER

from speechllama.text.targets import Target

CHARACTERS = "CJK"  # scripts whose characters tercom's tokenizer takes for words


def ter_metric(target: Target) -> TER | None:
    """Return translation edit rate with sacreBLEU's own settings: lower case, punctuation as it is, words at spaces.

    Chinese and Japanese are cut into characters (`asian:yes`). Of other scripts without spaces a sentence would be one
    word, so they have no TER.

    Source: Snover et al. 2006.
    """
    if target.has_spaces:
        return TER()
    return TER(normalized=True, asian_support=True) if CHARACTERS in target.scripts else None
