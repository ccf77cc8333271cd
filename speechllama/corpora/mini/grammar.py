"""Sentence pairs of the miniature corpus: random numbers -> (source sentence, English sentence).

    lexicon.tsv -> meaning.Sentence -> german | french | spanish -> source
                                              -> english                             -> translation

Another language is a column of the lexicon, a module with `accepts` and `realise`, and a line in GRAMMARS.
Source: ours; word-by-word copying must not solve the corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from speechllama.corpora.mini import english, french, german, spanish
from speechllama.corpora.mini.meaning import Sentence, sample_sentence
from speechllama.faults import InputError

ENGLISH_WORDS = range(4, 13)


@dataclass(frozen=True)
class Language:
    """How a language refuses an ambiguous meaning and says any other."""

    accepts: Callable[[Sentence], bool]
    realise: Callable[[Sentence], str]


GRAMMARS = {
    "de": Language(german.accepts, german.realise),
    "fr": Language(french.accepts, french.realise),
    "es": Language(spanish.accepts, spanish.realise),
}


def find_language(code: str) -> Language:
    """Look a language up.

    Raises:
        ValueError: The grammar does not have it.
    """
    if code not in GRAMMARS:
        raise InputError(f"no grammar for language {code!r}; there are: {' '.join(GRAMMARS)}")
    return GRAMMARS[code]


def sample_pair(code: str, random: Random) -> tuple[str, str]:
    """Draw a sentence and its translation.

    Args:
        code: Source language, a key of GRAMMARS.
        random: Where chance comes from; the pair depends on nothing else.

    Returns:
        Source sentence and English sentence of 4 to 12 words, both with case and punctuation.

    Raises:
        ValueError: The grammar does not have the language.
    """
    language = find_language(code)
    while True:
        sentence = sample_sentence(random)
        translation = english.realise(sentence)
        if len(translation.split()) in ENGLISH_WORDS and language.accepts(sentence):
            return language.realise(sentence), translation
