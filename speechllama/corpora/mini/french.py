"""French of the miniature corpus: Sentence -> text.

Gender and number agreement, adjectives before or after the noun, "ne ... pas", elision and contraction.
"""

from __future__ import annotations

import re

from speechllama.corpora.mini.meaning import Clause, NounPhrase, Place, Sentence, agreement, inflect

DETERMINERS = {  # masculine, feminine, plural
    "def": ("le", "la", "les"),
    "indef": ("un", "une", "des"),
    "this": ("ce", "cette", "ces"),
    "every": ("chaque", "chaque", ""),
    "my": ("mon", "ma", "mes"),
    "your": ("ton", "ta", "tes"),
    "our": ("notre", "notre", "nos"),
    "no": ("de", "de", "de"),
    "two": ("", "", "deux"),
    "three": ("", "", "trois"),
    "four": ("", "", "quatre"),
    "many": ("", "", "beaucoup de"),
}
PRONOUNS = {"I": "je", "you": "tu", "he": "il", "she": "elle", "we": "nous", "they": "ils"}
PREPOSITIONS = {"in": "dans", "behind": "derrière", "before": "devant", "with": "avec", "to": "à"}
LINKS = {"because": " parce que ", "but": ", mais ", "if": " si ", "that": " que "}
QUESTIONS = {"question": "", "where": "où ", "when": "quand ", "why": "pourquoi "}
# Forms in the order of the slots of `meaning.py`: je, tu, il, nous, ils.
AUXILIARIES = {
    "avoir": ("ai", "as", "a", "avons", "ont"),
    "être": ("suis", "es", "est", "sommes", "sont"),
    "était": ("étais", "étais", "était", "étions", "étaient"),
    "future": ("vais", "vas", "va", "allons", "vont"),
    "can": ("peux", "peux", "peut", "pouvons", "peuvent"),
    "must": ("dois", "dois", "doit", "devons", "doivent"),
    "want": ("veux", "veux", "veut", "voulons", "veulent"),
}
VOWEL = "[aeiouhéèêâàîôûœ]"  # every h of the lexicon is mute
ADJUSTMENTS = (
    (rf"\b(l|d|qu|j|n)(?:e|a) (?={VOWEL})", r"\1'"),  # l'ami, d'eau, qu'il, j'ai, n'a
    (rf"\bce (?={VOWEL})", "cet "),
    (rf"\b([mt])a (?={VOWEL})", r"\1on "),  # mon amie, mon école
    (r"\bsi (?=ils?\b)", "s'"),
    (r"\bà le\b(?!')", "au"),
    (r"\bà les\b", "aux"),
)


def noun_phrase(phrase: NounPhrase) -> str:
    """A noun phrase before elision; a short adjective comes before the noun, others after it."""
    gender, singular, plural = phrase.noun.forms["fr"]
    noun = plural if phrase.plural else singular
    article = DETERMINERS[phrase.determiner][2 if phrase.plural else gender == "f"]
    if phrase.adjective is None:
        return f"{article} {noun}"
    forms = phrase.adjective.forms["fr"]
    adjective = inflect(phrase.adjective, "fr", gender == "f", phrase.plural)
    if forms[4] == "post":
        return f"{article} {noun} {adjective}"
    if len(forms) > 5 and not phrase.plural and gender == "m" and re.match(VOWEL, noun):
        adjective = forms[5]  # un vieil ami, un bel oiseau
    return f"{'de' if article == 'des' else article} {adjective} {noun}"


def place_text(place: Place) -> str:
    """A preposition and its noun phrase."""
    phrase = noun_phrase(place.phrase)
    return f"{PREPOSITIONS[place.preposition]} {phrase}"


def verb_parts(clause: Clause) -> tuple[str, str]:
    """The finite verb and what follows it (participle or infinitive)."""
    slot = clause.slot
    if clause.verb is None:
        return AUXILIARIES["était" if clause.tense == "past" else "être"][slot], ""
    forms = clause.verb.forms["fr"]
    infinitive, participle, auxiliary = forms[5:8]
    if clause.tense == "present":
        return forms[slot], ""
    if clause.tense != "past":
        return AUXILIARIES[clause.tense][slot], infinitive
    if auxiliary == "être":
        feminine, plural = agreement(clause.subject, "fr")
        participle += "e" * feminine + "s" * plural
    return AUXILIARIES[auxiliary][slot], participle


def clause_text(clause: Clause, fronted: bool = False) -> str:
    """A clause before elision: the subject first, the finite verb within "ne ... pas"."""
    subject = PRONOUNS[clause.subject] if isinstance(clause.subject, str) else noun_phrase(clause.subject)
    finite, closing = verb_parts(clause)
    time = clause.time.forms["fr"][0] if clause.time else ""
    frequency = clause.frequency.forms["fr"][0] if clause.frequency else ""
    words = [
        time if fronted else "",
        subject,
        "ne" if clause.negated or frequency == "jamais" else "",
        finite,
        "pas" if clause.negated else frequency,
        closing,
        inflect(clause.state, "fr", *agreement(clause.subject, "fr")) if clause.state else "",
        noun_phrase(clause.object) if clause.object else "",
        place_text(clause.place) if clause.place else "",
        "" if fronted else time,
    ]
    return " ".join(word for word in words if word)


def clause_is_clear(clause: Clause) -> bool:
    """Whether the number is audible; it is not in "ils mangent" next to "il mange", nor in "pas de livres"."""
    if clause.subject == "they":
        if clause.verb is None and clause.tense == "past":  # était, étaient
            return False
        # mange, mangent; voit, voient: the plural is the singular with "ent" for its last letter
        singular, plural = clause.verb.forms["fr"][2:5:2] if clause.verb else ("", "")
        if clause.tense == "present" and singular and plural == f"{singular[:-1]}ent":
            return False
    return not (clause.object and clause.object.determiner == "no" and clause.object.plural)


def accepts(sentence: Sentence) -> bool:
    """Whether the French sentence, when spoken, has one translation."""
    return clause_is_clear(sentence.clause) and (sentence.second is None or clause_is_clear(sentence.second))


def realise(sentence: Sentence) -> str:
    """Say a sentence in French.

    Args:
        sentence: The meaning.

    Returns:
        The text with capital and full stop or question mark.
    """
    text = clause_text(sentence.clause, sentence.fronted)
    if sentence.mood in QUESTIONS:
        text = f"{QUESTIONS[sentence.mood]}est-ce que {text}"
    if sentence.link and sentence.second:
        text += LINKS[sentence.link] + clause_text(sentence.second)
    for pattern, replacement in ADJUSTMENTS:
        text = re.sub(pattern, replacement, text)
    return text[0].upper() + text[1:] + (" ?" if sentence.mood in QUESTIONS else ".")
