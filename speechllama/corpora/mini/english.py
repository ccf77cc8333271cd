"""English of the miniature corpus: Sentence -> text (articles, do-support, tenses)."""

from __future__ import annotations

from speechllama.corpora.mini.meaning import Clause, NounPhrase, Place, Sentence

# The other determiners are their own names.
DETERMINERS = {"def": "the"}
PREPOSITIONS = {"in": "in", "behind": "behind", "before": "in front of", "with": "with", "to": "to"}
LINKS = {"because": " because ", "but": ", but ", "if": " if ", "that": " that "}


def noun_phrase(phrase: NounPhrase) -> str:
    """A determiner, an adjective and a noun; "a" before a vowel is "an"."""
    adjective = phrase.adjective.forms["en"] if phrase.adjective else ()
    words = [*adjective, phrase.noun.forms["en"][phrase.plural]]
    if phrase.determiner in ("indef", "no"):
        article = [] if phrase.plural else ["an" if words[0][0] in "aeiou" else "a"]
        return " ".join(article + words)
    determiner = (
        "these"
        if phrase.determiner == "this" and phrase.plural
        else DETERMINERS.get(phrase.determiner, phrase.determiner)
    )
    return " ".join([determiner, *words])


def place_text(place: Place) -> str:
    """A preposition and its noun phrase."""
    phrase = noun_phrase(place.phrase)
    return f"{PREPOSITIONS[place.preposition]} {phrase}"


def verb_group(clause: Clause, question: bool) -> tuple[str, str]:
    """The auxiliary (may be empty) and the rest of the verb."""
    third, past = clause.slot == 2, clause.tense == "past"
    if clause.verb is None:
        be = ("was", "were", "was", "were", "were") if past else ("am", "are", "is", "are", "are")
        return be[clause.slot], ""
    base, present, simple_past = clause.verb.forms["en"]
    if clause.tense in ("future", "can", "must"):
        return {"future": "will", "can": "can", "must": "must"}[clause.tense], base
    do = "did" if past else "does" if third else "do"
    if clause.tense == "want":
        base, present = f"want to {base}", f"{'wants' if third else 'want'} to {base}"
    if question or clause.negated:
        return do, base
    return "", simple_past if past else present if third else base


def clause_text(clause: Clause, question: bool = False, fronted: bool = False) -> str:
    """A clause in English word order; a question starts with its auxiliary."""
    subject = clause.subject if isinstance(clause.subject, str) else noun_phrase(clause.subject)
    auxiliary, verb = verb_group(clause, question)
    negation = "not" if clause.negated else ""
    if auxiliary == "can" and negation:
        auxiliary, negation = "cannot", ""
    frequency = clause.frequency.forms["en"][0] if clause.frequency else ""
    time = clause.time.forms["en"][0] if clause.time else ""
    place = place_text(clause.place) if clause.place else ""
    rest = [
        verb,
        clause.state.forms["en"][0] if clause.state else "",
        noun_phrase(clause.object) if clause.object else "",
        place,
        "" if fronted else time,
    ]
    first = time if fronted else ""
    head = [auxiliary, subject, negation] if question else [first, subject, auxiliary, negation]
    return " ".join(word for word in [*head, frequency, *rest] if word)


def realise(sentence: Sentence) -> str:
    """Say a sentence in English.

    Args:
        sentence: The meaning.

    Returns:
        The text with capital and full stop or question mark.
    """
    question = sentence.mood != "statement"
    text = clause_text(sentence.clause, question, sentence.fronted)
    if sentence.mood in ("where", "when", "why"):
        text = f"{sentence.mood} {text}"
    if sentence.link and sentence.second:
        text += LINKS[sentence.link] + clause_text(sentence.second)
    return text[0].upper() + text[1:] + ("?" if question else ".")
