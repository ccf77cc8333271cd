"""BLEU as a target language needs it: Target -> sacreBLEU's metric, or what to install for its tokenizer."""

from __future__ import annotations

from sacrebleu.metrics import BLEU

from speechllama.faults import InputError
from speechllama.text.targets import Target

DOWNLOADED = (
    "sacreBLEU downloads its model once, into the folder that SACREBLEU names (~/.sacrebleu), and needs the package "
    "sentencepiece: run this where there is a network, or copy that folder"
)


def bleu_metric(target: Target, effective_order: bool = False) -> BLEU:
    """Return BLEU, cased; words are cut as the target language needs.

    Args:
        target: The language of the texts.
        effective_order: Of single sentences: n-grams longer than the text do not count.

    Raises:
        ValueError: sacreBLEU has no such tokenizer; or it needs a package or a file that is not here, then the message
            says what to install.
    """
    name = target.bleu_tokenizer
    if name not in BLEU.TOKENIZERS:
        raise InputError(
            f"BLEU of {target.language}: unknown tokenizer {name!r}, expected one of {', '.join(BLEU.TOKENIZERS)}"
        )
    try:
        return BLEU(tokenize=name, effective_order=effective_order)
    except (RuntimeError, ImportError, OSError) as error:
        is_extra = name.endswith("-mecab")
        advice = f"pip install -e '.[{name.removesuffix('-mecab')}]'" if is_extra else DOWNLOADED
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(f"BLEU of {target.language} needs the tokenizer {name} ({lines[0]}): {advice}") from error
