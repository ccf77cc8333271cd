"""German of the miniature corpus: Sentence -> text.

Case, gender and adjective endings; the verb second in main clauses (the subject moves after it when a time
comes first), last in subordinate ones; participles, infinitives and separable prefixes close the clause.
"""

from __future__ import annotations

import re
from typing import Literal

from speechllama.corpora.mini.meaning import Clause, NounPhrase, Place, Sentence

Case = Literal["nom", "acc", "dat"]
Order = Literal["second", "first", "last"]

CASES = ("nom", "acc", "dat")
ARTICLES = {
    "m": ("der", "den", "dem"),
    "f": ("die", "die", "der"),
    "n": ("das", "das", "dem"),
    "p": ("die", "die", "den"),
}
EIN_ENDINGS = {"m": ("", "en", "em"), "f": ("e", "e", "er"), "n": ("", "", "em"), "p": ("e", "e", "en")}
DIESER_ENDINGS = {
    "m": ("er", "en", "em"),
    "f": ("e", "e", "er"),
    "n": ("es", "es", "em"),
    "p": ("e", "e", "en"),
}
WEAK_ENDINGS = {"m": ("e", "en", "en"), "f": ("e", "e", "en"), "n": ("e", "e", "en"), "p": ("en", "en", "en")}
MIXED_ENDINGS = {
    "m": ("er", "en", "en"),
    "f": ("e", "e", "en"),
    "n": ("es", "es", "en"),
    "p": ("en", "en", "en"),
}
EIN_STEMS = {"indef": "ein", "no": "kein", "my": "mein", "your": "dein", "our": "unser"}
DIESER_STEMS = {"this": "dies", "every": "jed"}
COUNTS = {"two": "zwei", "three": "drei", "four": "vier", "many": "viele"}
PRONOUNS = {"I": "ich", "you": "du", "he": "er", "she": "sie", "we": "wir", "they": "sie"}
PREPOSITIONS = {"in": "in", "behind": "hinter", "before": "vor", "with": "mit", "to": "zu"}
LINKS = {"because": "weil", "but": "aber", "if": "wenn", "that": "dass"}
QUESTIONS = {"where": "wo", "when": "wann", "why": "warum"}
# Forms in the order of the slots of `meaning.py`: ich, du, er, wir, sie.
AUXILIARIES = {
    "haben": ("habe", "hast", "hat", "haben", "haben"),
    "sein": ("bin", "bist", "ist", "sind", "sind"),
    "war": ("war", "warst", "war", "waren", "waren"),
    "future": ("werde", "wirst", "wird", "werden", "werden"),
    "can": ("kann", "kannst", "kann", "können", "können"),
    "must": ("muss", "musst", "muss", "müssen", "müssen"),
    "want": ("will", "willst", "will", "wollen", "wollen"),
}
CONTRACTIONS = {"in dem": "im", "zu dem": "zum", "zu der": "zur"}


def determiner(name: str, gender: str, case: int) -> tuple[str, str]:
    """The determiner and the ending that it leaves to an adjective."""
    if name == "def":
        return ARTICLES[gender][case], WEAK_ENDINGS[gender][case]
    if name in DIESER_STEMS:
        return DIESER_STEMS[name] + DIESER_ENDINGS[gender][case], WEAK_ENDINGS[gender][case]
    if name in COUNTS or (name == "indef" and gender == "p"):
        count = COUNTS.get(name, "")
        ending = "en" if case == 2 else "e"
        return ("vielen" if count == "viele" and case == 2 else count), ending
    return EIN_STEMS[name] + EIN_ENDINGS[gender][case], MIXED_ENDINGS[gender][case]


def noun_phrase(phrase: NounPhrase, case: Case) -> str:
    """A noun phrase in a case."""
    gender, singular, plural, *oblique = phrase.noun.forms["de"]
    number = CASES.index(case)
    noun = plural if phrase.plural else oblique[0] if oblique and number else singular
    if phrase.plural and case == "dat" and noun[-1] not in "ns":
        noun += "n"
    article, ending = determiner(phrase.determiner, "p" if phrase.plural else gender, number)
    adjective = phrase.adjective.forms["de"][-1] + ending if phrase.adjective else ""
    return " ".join(word for word in (article, adjective, noun) if word)


def place_text(place: Place) -> str:
    """A preposition, here always with the dative."""
    phrase = noun_phrase(place.phrase, "dat")
    return f"{PREPOSITIONS[place.preposition]} {phrase}"


def verb_parts(clause: Clause) -> tuple[str, str, str]:
    """The finite verb, its separable prefix and what closes the clause (participle or infinitive)."""
    slot = clause.slot
    if clause.verb is None:
        return AUXILIARIES["war" if clause.tense == "past" else "sein"][slot], "", ""
    forms = clause.verb.forms["de"]
    infinitive, participle, auxiliary = forms[3:6]
    prefix = forms[6] if len(forms) > 6 and forms[6] != "dat" else ""
    if clause.tense == "past":
        return AUXILIARIES[auxiliary][slot], "", participle
    if clause.tense == "present":
        return (*forms[:3], infinitive, infinitive)[slot], prefix, ""
    return AUXILIARIES[clause.tense][slot], "", prefix + infinitive


def clause_text(clause: Clause, order: Order = "second", fronted: bool = False) -> str:
    """A clause with its verb second, first or last."""
    subject = PRONOUNS[clause.subject] if isinstance(clause.subject, str) else noun_phrase(clause.subject, "nom")
    finite, prefix, closing = verb_parts(clause)
    time = clause.time.forms["de"][0] if clause.time else ""
    case: Case = "dat" if clause.verb and clause.verb.forms["de"][-1] == "dat" else "acc"
    middle = [
        "" if fronted else time,
        clause.frequency.forms["de"][0] if clause.frequency else "",
        noun_phrase(clause.object, case) if clause.object else "",
        "nicht" if clause.negated and not (clause.object and clause.object.determiner == "no") else "",
        place_text(clause.place) if clause.place else "",
        clause.state.forms["de"][0] if clause.state else "",
    ]
    if order == "last":
        words = [subject, *middle, closing, prefix + finite]
    elif order == "first":
        words = [finite, subject, *middle, prefix, closing]
    elif fronted:
        words = [time, finite, subject, *middle, prefix, closing]
    else:
        words = [subject, finite, *middle, prefix, closing]
    return " ".join(word for word in words if word)


def accepts(sentence: Sentence) -> bool:
    """German can say every meaning without ambiguity."""
    return True


def realise(sentence: Sentence) -> str:
    """Say a sentence in German.

    Args:
        sentence: The meaning.

    Returns:
        The text with capital and full stop or question mark.
    """
    question = sentence.mood != "statement"
    text = clause_text(sentence.clause, "first" if question else "second", sentence.fronted)
    if sentence.mood in QUESTIONS:
        text = f"{QUESTIONS[sentence.mood]} {text}"
    if sentence.link and sentence.second:
        order: Order = "second" if sentence.link == "but" else "last"
        text += f", {LINKS[sentence.link]} {clause_text(sentence.second, order)}"
    for apart, together in CONTRACTIONS.items():
        text = re.sub(rf"\b{apart}\b", together, text)
    return text[0].upper() + text[1:] + ("?" if question else ".")
