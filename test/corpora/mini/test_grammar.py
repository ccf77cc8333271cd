"""The miniature grammar: correct German, French, Spanish and English, one translation for each sentence."""

from __future__ import annotations

import re
from random import Random

import pytest

from speechllama.corpora.mini import english, french, german, spanish
from speechllama.corpora.mini.grammar import GRAMMARS, sample_pair
from speechllama.corpora.mini.meaning import (
    Clause,
    NounPhrase,
    Place,
    Sentence,
    Word,
    read_lexicon,
    sample_sentence,
)

REALISERS = {"en": english, "de": german, "fr": french, "es": spanish}
FORMS = {"noun": {"en": 2, "de": 3, "fr": 3, "es": 3}, "verb": {"en": 3, "de": 6, "fr": 8, "es": 11}}


def word(english: str) -> Word:
    """The lexicon's word with this English base form."""
    return next(item for item in read_lexicon() if item.forms["en"][0] == english)


def phrase(text: str, plural: bool = False) -> NounPhrase:
    """The noun phrase of a text such as "def old man"."""
    determiner, *adjective, noun = text.split()
    return NounPhrase(word(noun), determiner, plural, word(adjective[0]) if adjective else None)


OLD_MAN, GIRLS, WOMAN = phrase("def old man"), phrase("def girl", plural=True), phrase("def woman")
CASES: list[tuple[Sentence, dict[str, str]]] = [
    (
        Sentence(Clause(OLD_MAN, word("see"), object=phrase("indef small cat"), tense="past")),
        {
            "en": "The old man saw a small cat.",
            "de": "Der alte Mann hat eine kleine Katze gesehen.",
            "fr": "Le vieil homme a vu un petit chat.",
            "es": "El hombre viejo vio un gato pequeño.",
        },
    ),
    (
        Sentence(Clause(GIRLS, word("help"), object=phrase("def young doctor", plural=True))),
        {
            "en": "The girls help the young doctors.",
            "de": "Die Mädchen helfen den jungen Ärzten.",
            "fr": "Les filles aident les jeunes médecins.",
            "es": "Las chicas ayudan a los médicos jóvenes.",
        },
    ),
    (
        Sentence(Clause(WOMAN, word("open"), object=phrase("def door"), time=word("today")), fronted=True),
        {
            "en": "Today the woman opens the door.",
            "de": "Heute macht die Frau die Tür auf.",
            "fr": "Aujourd'hui la femme ouvre la porte.",
            "es": "Hoy la mujer abre la puerta.",
        },
    ),
    (
        Sentence(
            Clause("I", word("wait")),
            link="because",
            second=Clause("she", word("call"), object=phrase("my friend")),
        ),
        {
            "en": "I wait because she calls my friend.",
            "de": "Ich warte, weil sie meinen Freund anruft.",
            "fr": "J'attends parce qu'elle appelle mon ami.",
            "es": "Yo espero porque ella llama a mi amigo.",
        },
    ),
    (
        Sentence(Clause("he", word("buy"), object=phrase("no red car"), negated=True)),
        {
            "en": "He does not buy a red car.",
            "de": "Er kauft kein rotes Auto.",
            "fr": "Il n'achète pas de voiture rouge.",
            "es": "Él no compra ningún coche rojo.",
        },
    ),
    (
        Sentence(Clause(GIRLS, word("go"), place=Place("to", phrase("def hotel")), tense="past"), mood="question"),
        {
            "en": "Did the girls go to the hotel?",
            "de": "Sind die Mädchen zum Hotel gegangen?",
            "fr": "Est-ce que les filles sont allées à l'hôtel ?",
            "es": "¿Fueron las chicas al hotel?",
        },
    ),
    (
        Sentence(Clause("we", word("close"), object=phrase("this window", plural=True), tense="must")),
        {
            "en": "We must close these windows.",
            "de": "Wir müssen diese Fenster zumachen.",
            "fr": "Nous devons fermer ces fenêtres.",
            "es": "Nosotros debemos cerrar estas ventanas.",
        },
    ),
    (
        Sentence(Clause("you", word("know")), link="that", second=Clause(WOMAN, None, state=word("tired"))),
        {
            "en": "You know that the woman is tired.",
            "de": "Du weißt, dass die Frau müde ist.",
            "fr": "Tu sais que la femme est fatiguée.",
            "es": "Tú sabes que la mujer está cansada.",
        },
    ),
    (
        Sentence(
            Clause(
                phrase("many boy", plural=True),
                word("sleep"),
                place=Place("behind", phrase("def house")),
                tense="want",
            )
        ),
        {
            "en": "Many boys want to sleep behind the house.",
            "de": "Viele Jungen wollen hinter dem Haus schlafen.",
            "fr": "Beaucoup de garçons veulent dormir derrière la maison.",
            "es": "Muchos chicos quieren dormir detrás de la casa.",
        },
    ),
    (
        Sentence(Clause("he", word("come"), place=Place("to", phrase("def park")), frequency=word("never"))),
        {
            "en": "He never comes to the park.",
            "de": "Er kommt nie zum Park.",
            "fr": "Il ne vient jamais au parc.",
            "es": "Él nunca viene al parque.",
        },
    ),
    (
        Sentence(Clause("she", word("read"), object=phrase("indef beautiful book", plural=True)), mood="where"),
        {
            "en": "Where does she read beautiful books?",
            "de": "Wo liest sie schöne Bücher?",
            "fr": "Où est-ce qu'elle lit de beaux livres ?",
            "es": "¿Dónde lee ella libros hermosos?",
        },
    ),
    (
        Sentence(Clause("they", word("see"), object=phrase("def teacher"), tense="future", negated=True)),
        {
            "en": "They will not see the teacher.",
            "de": "Sie werden den Lehrer nicht sehen.",
            "fr": "Ils ne vont pas voir le professeur.",
            "es": "Ellos no van a ver al profesor.",
        },
    ),
]


@pytest.mark.parametrize(("sentence", "expected"), CASES, ids=[texts["en"] for _, texts in CASES])
def test_every_language_agrees_and_orders_its_words(sentence: Sentence, expected: dict[str, str]) -> None:
    assert {code: realiser.realise(sentence) for code, realiser in REALISERS.items()} == expected


@pytest.mark.parametrize(
    ("text", "plural", "case", "expected"),
    [
        ("indef young doctor", False, "nom", "ein junger Arzt"),
        ("indef young doctor", False, "acc", "einen jungen Arzt"),
        ("def young doctor", False, "dat", "dem jungen Arzt"),
        ("this expensive book", False, "acc", "dieses teure Buch"),
        ("my new car", False, "acc", "mein neues Auto"),
        ("our big school", False, "dat", "unserer großen Schule"),
        ("every boy", False, "acc", "jeden Jungen"),
        ("two old letter", True, "acc", "zwei alte Briefe"),
        ("many old friend", True, "dat", "vielen alten Freunden"),
        ("no white table", True, "acc", "keine weißen Tische"),
        ("indef small key", True, "acc", "kleine Schlüssel"),
    ],
)
def test_german_endings(text: str, plural: bool, case: german.Case, expected: str) -> None:
    assert german.noun_phrase(phrase(text, plural), case) == expected


def test_meanings_that_a_language_cannot_keep_apart_are_refused() -> None:
    bought = Sentence(Clause("we", word("buy"), object=phrase("def car"), tense="past"))
    assert not spanish.accepts(bought)  # compramos
    assert german.accepts(bought) and french.accepts(bought)
    for verb, clear in (("see", False), ("work", False), ("sleep", True), ("go", True)):
        assert french.accepts(Sentence(Clause("they", word(verb)))) is clear, verb


def test_three_thousand_pairs_use_at_least_150_english_words_and_have_one_translation_each() -> None:
    english: set[str] = set()
    translations: dict[tuple[str, str], str] = {}
    for code in GRAMMARS:
        random = Random(7)
        for _ in range(1000):
            source, target = sample_pair(code, random)
            assert translations.setdefault((code, source), target) == target
            assert 4 <= len(target.split()) <= 12
            assert re.fullmatch(r"[A-Z][A-Za-z, ]+[.?]", target), target
            assert re.fullmatch(r"¿?[A-ZÀ-Ü][A-Za-zÀ-ÿœŒ', -]+( ?[.?])", source), source
            assert "  " not in source and "  " not in target
            english.update(re.findall(r"\w+", target.lower()))
    assert len(translations) > 2900
    assert 150 <= len(english) <= 250


def test_negation_keeps_to_its_clause_and_never_meets_every() -> None:
    random = Random(11)
    for _ in range(3000):
        sentence = sample_sentence(random)
        for clause in (sentence.clause, sentence.second):
            if clause is None:
                continue
            phrases = [item for item in (clause.subject, clause.object) if isinstance(item, NounPhrase)]
            names = {item.determiner for item in phrases}
            denied = clause.negated or (clause.frequency and clause.frequency.forms["en"] == ("never",))
            assert not (denied and "every" in names)
            assert clause.negated or "no" not in names
            assert not (clause.negated and (clause.tense == "must" or sentence.mood != "statement"))


def test_a_seed_fixes_the_pairs() -> None:
    first, second, third = ([sample_pair("de", random) for _ in range(9)] for random in map(Random, (1, 1, 2)))
    assert first == second != third


def test_every_word_has_all_its_forms_and_no_two_share_a_translation() -> None:
    words = read_lexicon()
    for item in words:
        for code, least in FORMS.get(item.kind, {}).items():
            assert len(item.forms[code]) >= least, (item.forms["en"], code)
    for code in ("en", "fr", "es"):
        for kind, position in (("noun", 1 if code != "en" else 0), ("adj", 0), ("verb", 0)):
            names = [item.forms[code][position] for item in words if item.kind == kind]
            assert len(names) == len(set(names)), (code, kind)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="no grammar for language 'tlh'; there are: de fr es"):
        sample_pair("tlh", Random(1))


def test_a_target_other_than_english_says_the_same_meaning() -> None:
    english = [sample_pair("fr", Random(seed)) for seed in range(20)]
    german = [sample_pair("fr", Random(seed), "de") for seed in range(20)]
    assert english == [sample_pair("fr", Random(seed), "en") for seed in range(20)]
    same = [(one[0], one[1], other[1]) for one, other in zip(english, german, strict=True) if one[0] == other[0]]
    assert len(same) > 10 and all(into_english != into_german for _, into_english, into_german in same)
    with pytest.raises(ValueError, match="no grammar for language 'ja'; there are: de fr es"):
        sample_pair("fr", Random(1), "ja")
