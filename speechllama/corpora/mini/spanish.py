"""Spanish of the miniature corpus: Sentence -> text.

Gender and number agreement, adjectives after the noun, ser and estar, personal "a", del and al, questions
with the subject after the verb.
"""

from __future__ import annotations

import re

from speechllama.corpora.mini.meaning import Clause, NounPhrase, Place, Sentence, agreement, inflect

DETERMINERS = {  # masculine, feminine, masculine plural, feminine plural
    "def": ("el", "la", "los", "las"),
    "indef": ("un", "una", "", ""),
    "no": ("ningún", "ninguna", "", ""),
    "this": ("este", "esta", "estos", "estas"),
    "every": ("cada", "cada", "", ""),
    "my": ("mi", "mi", "mis", "mis"),
    "your": ("tu", "tu", "tus", "tus"),
    "our": ("nuestro", "nuestra", "nuestros", "nuestras"),
    "two": ("", "", "dos", "dos"),
    "three": ("", "", "tres", "tres"),
    "four": ("", "", "cuatro", "cuatro"),
    "many": ("", "", "muchos", "muchas"),
}
PRONOUNS = {"I": "yo", "you": "tú", "he": "él", "she": "ella", "we": "nosotros", "they": "ellos"}
PREPOSITIONS = {"in": "en", "behind": "detrás de", "before": "delante de", "with": "con", "to": "a"}
LINKS = {"because": " porque ", "but": ", pero ", "if": " si ", "that": " que "}
QUESTIONS = {"where": "dónde", "when": "cuándo", "why": "por qué"}
# Forms in the order of the slots of `meaning.py`: yo, tú, él, nosotros, ellos.
AUXILIARIES = {
    "ser": ("soy", "eres", "es", "somos", "son"),
    "estar": ("estoy", "estás", "está", "estamos", "están"),
    "ser past": ("era", "eras", "era", "éramos", "eran"),
    "estar past": ("estaba", "estabas", "estaba", "estábamos", "estaban"),
    "future": ("voy", "vas", "va", "vamos", "van"),
    "can": ("puedo", "puedes", "puede", "podemos", "pueden"),
    "must": ("debo", "debes", "debe", "debemos", "deben"),
    "want": ("quiero", "quieres", "quiere", "queremos", "quieren"),
}
CONTRACTIONS = {"de el": "del", "a el": "al"}


def noun_phrase(phrase: NounPhrase) -> str:
    """A noun phrase; "agua" is feminine but takes "el"."""
    gender, singular, plural = phrase.noun.forms["es"]
    noun = plural if phrase.plural else singular
    article = DETERMINERS[phrase.determiner][2 * phrase.plural + (gender == "f")]
    if noun == "agua" and article == "la":
        article = "el"
    adjective = inflect(phrase.adjective, "es", gender == "f", phrase.plural) if phrase.adjective else ""
    return " ".join(word for word in (article, noun, adjective) if word)


def place_text(place: Place) -> str:
    """A preposition and its noun phrase."""
    phrase = noun_phrase(place.phrase)
    return f"{PREPOSITIONS[place.preposition]} {phrase}"


def verb_parts(clause: Clause) -> tuple[str, str]:
    """The finite verb and what follows it (an infinitive)."""
    slot, past = clause.slot, clause.tense == "past"
    if clause.verb is None:
        copula = clause.state.forms["es"][4] if clause.state else "estar"
        return AUXILIARIES[f"{copula} past" if past else copula][slot], ""
    forms = clause.verb.forms["es"]
    if clause.tense in ("present", "past"):
        return forms[slot + 5 * past], ""
    return AUXILIARIES[clause.tense][slot], ("a " if clause.tense == "future" else "") + forms[10]


def clause_text(clause: Clause, question: bool = False, fronted: bool = False) -> str:
    """A clause; in a question the subject follows the finite verb."""
    subject = PRONOUNS[clause.subject] if isinstance(clause.subject, str) else noun_phrase(clause.subject)
    finite, closing = verb_parts(clause)
    time = clause.time.forms["es"][0] if clause.time else ""
    frequency = clause.frequency.forms["es"][0] if clause.frequency else ""
    if frequency in ("siempre", "nunca"):
        finite, frequency = f"{frequency} {finite}", ""
    if clause.negated:
        finite = f"no {finite}"
    thing = noun_phrase(clause.object) if clause.object else ""
    if clause.object and "person" in clause.object.noun.classes:
        thing = f"a {thing}"
    words = [
        time if fronted else "",
        *((finite, subject) if question else (subject, finite)),
        frequency,
        closing,
        inflect(clause.state, "es", *agreement(clause.subject, "es")) if clause.state else "",
        thing,
        place_text(clause.place) if clause.place else "",
        "" if fronted else time,
    ]
    return " ".join(word for word in words if word)


def clause_is_clear(clause: Clause) -> bool:
    """Whether the tense can be seen: "nosotros compramos" is present and past."""
    if clause.verb is None or clause.subject != "we" or clause.tense != "past":
        return True
    return clause.verb.forms["es"][3] != clause.verb.forms["es"][8]


def accepts(sentence: Sentence) -> bool:
    """Whether the Spanish sentence has one translation."""
    return clause_is_clear(sentence.clause) and (sentence.second is None or clause_is_clear(sentence.second))


def realise(sentence: Sentence) -> str:
    """Say a sentence in Spanish.

    Args:
        sentence: The meaning.

    Returns:
        The text with capital, opening and closing marks.
    """
    question = sentence.mood != "statement"
    text = clause_text(sentence.clause, question, sentence.fronted)
    if sentence.mood in QUESTIONS:
        text = f"{QUESTIONS[sentence.mood]} {text}"
    if sentence.link and sentence.second:
        text += LINKS[sentence.link] + clause_text(sentence.second)
    for apart, together in CONTRACTIONS.items():
        text = re.sub(rf"\b{apart}\b", together, text)
    text = text[0].upper() + text[1:]
    return f"¿{text}?" if question else f"{text}."
