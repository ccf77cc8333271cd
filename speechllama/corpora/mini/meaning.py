"""Meanings of the miniature corpus: what a sentence says, before any language says it.

    lexicon (lexicon.tsv) + random numbers -> Sentence -> german, french, ... -> text

A meaning holds only what every language expresses, so that a sentence has one translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

from speechllama.faults import InputError

Tense = Literal["present", "past", "future", "can", "must", "want"]
Mood = Literal["statement", "question", "where", "when", "why"]
Link = Literal["because", "but", "if", "that"]

LANGUAGE_COLUMNS = ("en", "de", "fr", "es")
PRONOUNS = {"I": 20, "you": 8, "he": 28, "she": 24, "we": 6, "they": 14}
# Position of a verb form in the lexicon: first, second, third person singular, first, third person plural.
PRONOUN_SLOTS = {"I": 0, "you": 1, "he": 2, "she": 2, "we": 3, "they": 4}
SINGULAR = {"def": 30, "indef": 22, "my": 10, "your": 8, "our": 8, "this": 12, "every": 8}
PLURAL = {"def": 30, "indef": 15, "my": 8, "our": 8, "this": 12, "two": 8, "three": 8, "four": 6, "many": 10}
TENSES: dict[Tense, int] = {"present": 55, "past": 25, "future": 8, "can": 4, "must": 4, "want": 4}
ZIPF_OFFSET = 1.0  # of the rank; larger values make the words' rates more alike
SHAPES = {"statement": 66, "question": 13, "wh": 9, "because": 4, "but": 3, "if": 2, "that": 3}


@dataclass(frozen=True)
class Word:
    """One line of the lexicon: what it goes with, and its forms in every language."""

    kind: str
    classes: tuple[str, ...]
    objects: tuple[str, ...]
    forms: dict[str, tuple[str, ...]]

    def __hash__(self) -> int:
        return hash((self.kind, self.forms["en"]))


@dataclass(frozen=True)
class NounPhrase:
    """`determiner` is a key of SINGULAR or PLURAL, or "no" (an indefinite object under negation)."""

    noun: Word
    determiner: str
    plural: bool
    adjective: Word | None = None


@dataclass(frozen=True)
class Place:
    """A prepositional phrase: in, behind, before (in front of), with, to."""

    preposition: str
    phrase: NounPhrase


@dataclass(frozen=True)
class Clause:
    """Who does what, where and when; without a verb it is "subject is state"."""

    subject: NounPhrase | str
    verb: Word | None
    state: Word | None = None
    object: NounPhrase | None = None
    place: Place | None = None
    time: Word | None = None
    frequency: Word | None = None
    tense: Tense = "present"
    negated: bool = False

    @property
    def slot(self) -> int:
        """Position of the verb form that agrees with the subject."""
        if isinstance(self.subject, str):
            return PRONOUN_SLOTS[self.subject]
        return 4 if self.subject.plural else 2


@dataclass(frozen=True)
class Sentence:
    """One clause, or two with a link; `fronted` puts the first clause's time before everything."""

    clause: Clause
    mood: Mood = "statement"
    fronted: bool = False
    link: Link | None = None
    second: Clause | None = None


def agreement(subject: NounPhrase | str, lang: str) -> tuple[bool, bool]:
    """Whether a subject is feminine, and plural, in a language where adjectives agree with it: "fr" or "es"."""
    if isinstance(subject, str):
        return subject == "she", subject in ("we", "they")
    return subject.noun.forms[lang][0] == "f", subject.plural


def inflect(adjective: Word, lang: str, feminine: bool, plural: bool) -> str:
    """Return the form of an adjective that agrees; "fr" or "es"."""
    return adjective.forms[lang][2 * plural + feminine]


@cache
def read_lexicon() -> tuple[Word, ...]:
    """Read lexicon.tsv next to this file.

    Raises:
        ValueError: A line has not six columns; the message says which.
    """
    path = Path(__file__).with_name("lexicon.tsv")
    words = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith(("#", "kind\t")):
            continue
        columns = line.split("\t")
        if len(columns) != 2 + len(LANGUAGE_COLUMNS):
            expected = 2 + len(LANGUAGE_COLUMNS)
            raise InputError(f"{path}:{number}: {len(columns)} columns, expected {expected}: {line!r}")
        kind, classes = columns[:2]
        subjects, _, objects = classes.replace(",", " ").partition(">")
        whole = kind in ("time", "freq")
        forms = {
            name: (text,) if whole else tuple(text.split())
            for name, text in zip(LANGUAGE_COLUMNS, columns[2:], strict=True)
        }
        words.append(Word(kind, tuple(subjects.split()), tuple(objects.split()), forms))
    return tuple(words)


@cache
def find_words(kind: str, classes: tuple[str, ...] = ()) -> tuple[Word, ...]:
    """The words of a kind; with classes, those that have at least one of them."""
    return tuple(
        word for word in read_lexicon() if word.kind == kind and (not classes or set(classes) & set(word.classes))
    )


def sample_noun_phrase(
    random: Random, classes: tuple[str, ...], banned: tuple[str, ...], adjective: float
) -> NounPhrase:
    """A noun of one of the classes, a determiner that is not banned and, at the given rate, an adjective."""
    noun = choose(random, find_words("noun", classes))
    countable = "drink" not in noun.classes
    plural = countable and random.random() < 0.35
    banned = banned if countable else (*banned, "indef", "every", "your")
    if "unowned" in noun.classes:
        banned = (*banned, "my", "your", "our")
    # Bare plural people are no subjects or objects in Spanish without more words.
    if plural and "person" in noun.classes:
        banned = (*banned, "indef")
    table = {name: rate for name, rate in (PLURAL if plural else SINGULAR).items() if name not in banned}
    determiner = random.choices(list(table), list(table.values()))[0]
    adjectives = find_words("adj", noun.classes)
    chosen = choose(random, adjectives) if adjectives and random.random() < adjective else None
    return NounPhrase(noun, determiner, plural, chosen)


def choose(random: Random, words: Sequence[Word]) -> Word:
    """Draw a word as language does: the nth of the list about n times as rarely as the first (Zipf's law).

    A corpus of an hour then holds its frequent words often enough to be learned, and rare ones all the same.
    """
    return random.choices(words, [1.0 / (rank + ZIPF_OFFSET) for rank in range(len(words))])[0]


def sample_subject(random: Random, classes: tuple[str, ...], adjective: float) -> NounPhrase | str:
    """A pronoun or a noun phrase that can act."""
    if "person" in classes and random.random() < 0.4:
        return random.choices(list(PRONOUNS), list(PRONOUNS.values()))[0]
    phrase = sample_noun_phrase(random, classes, (), adjective)
    return replace(phrase, determiner="def") if phrase.plural and phrase.determiner == "indef" else phrase


def sample_place(random: Random, objects: tuple[str, ...]) -> Place:
    """Where to (motion), or where and with whom."""
    banned = ("indef", "every", "many", "two", "three", "four", "your")
    if objects == ("to",):
        phrase = sample_noun_phrase(random, ("goal",), banned, 0.15)
        return Place("to", replace(phrase, plural=False))
    preposition = random.choices(("in", "behind", "before", "with"), (5, 2, 2, 3))[0]
    if preposition == "with":
        return Place(preposition, sample_noun_phrase(random, ("person",), ("every", "many"), 0.15))
    classes = ("place",) if preposition == "in" else ("building",)
    return Place(preposition, replace(sample_noun_phrase(random, classes, banned, 0.15), plural=False))


def sample_state(random: Random, short: bool) -> Clause:
    """A clause with "to be": a passing state of a person or animal, or a property of a thing."""
    state = choose(random, find_words("state") + find_words("adj"))
    subject = sample_subject(random, state.classes, 0.0 if state.kind == "adj" or short else 0.3)
    return Clause(subject, None, state=state, tense="past" if random.random() < 0.35 else "present")


def sample_clause(random: Random, short: bool, reporting: bool = False) -> Clause:
    """One positive clause; a short one is half of a sentence, a reporting one is followed by "that"."""
    if not reporting and random.random() < 0.16:
        return sample_state(random, short)
    verb = choose(random, [word for word in find_words("verb") if (word.objects == ("that",)) == reporting])
    names = list(TENSES)[:2] if reporting else list(TENSES)
    tense = random.choices(names, [TENSES[name] for name in names])[0]
    clause = Clause(sample_subject(random, verb.classes, 0.05 if short else 0.2), verb, tense=tense)
    if reporting:
        return clause
    if verb.objects == ("to",):
        clause = replace(clause, place=sample_place(random, verb.objects))
    elif verb.objects:
        phrase = sample_noun_phrase(random, verb.objects, (), 0.1 if short else 0.25)
        clause = replace(clause, object=phrase)
    if clause.place is None and random.random() < (0.0 if short else 0.12 if verb.objects else 0.5):
        clause = replace(clause, place=sample_place(random, ()))
    if random.random() < (0.05 if short else 0.22):
        time = tense if tense in ("present", "past", "future") else "modal"
        clause = replace(clause, time=choose(random, find_words("time", (time,))))
    return clause


def clear_scope(phrase: NounPhrase, banned: tuple[str, ...]) -> NounPhrase:
    """Take a determiner that a negation would make ambiguous ("every man does not") from a noun phrase."""
    return replace(phrase, determiner="def") if phrase.determiner in banned else phrase


def sample_denial(random: Random, clause: Clause) -> Clause:
    """Leave a clause as it is, negate it, or say how often it holds."""
    draw = random.random()
    if draw < 0.15 and clause.tense == "present" and clause.verb and not clause.time:
        clause = replace(clause, frequency=random.choice(find_words("freq")))
    # "must not" is no negated "must" in German; "not every day" would be ambiguous.
    elif 0.15 <= draw < 0.36 and clause.tense != "must" and not (clause.time and clause.time.classes == ("present",)):
        clause = replace(clause, negated=True)
    if not clause.negated and not (clause.frequency and clause.frequency.forms["en"] == ("never",)):
        return clause
    if isinstance(clause.subject, NounPhrase):
        clause = replace(clause, subject=clear_scope(clause.subject, ("every",)))
    if clause.object:
        phrase = clear_scope(clause.object, ("every", "many", "two", "three", "four"))
        if clause.negated and phrase.determiner == "indef":
            phrase = replace(phrase, determiner="no")
        clause = replace(clause, object=phrase)
    return clause


def sample_sentence(random: Random) -> Sentence:
    """Draw one meaning; the languages may refuse it (see `grammar.py`)."""
    shape = random.choices(list(SHAPES), list(SHAPES.values()))[0]
    if shape == "statement":
        clause = sample_denial(random, sample_clause(random, short=False))
        return Sentence(clause, fronted=clause.time is not None and random.random() < 0.5)
    if shape == "question":
        return Sentence(sample_clause(random, short=False), "question")
    if shape == "wh":
        clause = sample_clause(random, short=True)
        moods: list[Mood] = ["why"] if clause.time else ["when", "why"]
        if clause.place is None and clause.verb is not None:
            moods.append("where")
        return Sentence(clause, random.choice(moods))
    link: Link = shape  # type: ignore[assignment]
    while True:
        first = sample_denial(random, sample_clause(random, short=True, reporting=link == "that"))
        second = sample_denial(random, sample_clause(random, short=True))
        # German "wenn" is "if" only where nothing is past; with the past it would be "when".
        if link != "if" or "past" not in (first.tense, second.tense):
            return Sentence(first, link=link, second=second)
