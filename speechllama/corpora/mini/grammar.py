"""Sentence pairs of the miniature corpus: random numbers -> (source sentence, its translation).

    lexicon.tsv -> meaning.Sentence -> german | french | spanish -> source
                                              -> english | german | french | spanish -> translation

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
from speechllama.text.targets import DEFAULT_TARGET

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

# Only as a target: English says several meanings alike ("you"), so it would have several translations.
ENGLISH = Language(lambda sentence: True, english.realise)


def find_target(code: str) -> Language:
    """Look a target language up; errors as `find_language`."""
    return ENGLISH if code == DEFAULT_TARGET else find_language(code)


def find_language(code: str) -> Language:
    """Look a language up.

    Raises:
        ValueError: The grammar does not have it.
    """
    if code not in GRAMMARS:
        raise InputError(f"no grammar for language {code!r}; there are: {' '.join(GRAMMARS)}")
    return GRAMMARS[code]


def sample_pair(code: str, random: Random, target: str = DEFAULT_TARGET) -> tuple[str, str]:
    """Draw a sentence and its translation.

    Args:
        code: Source language, a key of GRAMMARS.
        random: Where chance comes from; the pair depends on nothing else.
        target: Language of the translation, "en" or another key of GRAMMARS.

    Returns:
        Source sentence and translation, both with case and punctuation; in English it has 4 to 12 words.

    Raises:
        ValueError: The grammar does not have the language.
    """
    language, written = find_language(code), find_target(target)
    while True:
        sentence = sample_sentence(random)
        num_words = len(english.realise(sentence).split())
        if num_words in ENGLISH_WORDS and language.accepts(sentence) and written.accepts(sentence):
            return language.realise(sentence), written.realise(sentence)
