"""The plan of spoken Tatoeba: disjoint splits, voices and rooms, and hours that only add."""

from __future__ import annotations

import re
from random import Random

import pytest

from speechllama.corpora.mini.plan import Pair, Utterance
from speechllama.corpora.tatoeba.plan import (
    Splits,
    TatoebaSettings,
    VoicePlan,
    expected_seconds,
    plan_held_out,
    plan_training,
    split_pairs,
)
from speechllama.text.filter import sentence_key

SETTINGS = TatoebaSettings(langs=("de", "nl"), hours=0.2, num_dev=20, num_test=30, seed=1)


def make_pairs() -> list[Pair]:
    """Pairs with English sides in both languages and several times, and source sentences with several translations."""
    random = Random(1)
    pairs: dict[Pair, None] = {}
    for number in range(600):
        english = random.choice(("He sees number {}.", "he sees number {}!")).format(number % 250)
        lang = random.choice(("de", "nl"))
        pairs[Pair(lang, f"{lang} sieht Nummer {random.randrange(400)} an.", english)] = None
    return list(pairs)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split_pairs(make_pairs(), SETTINGS)


def plan(splits: Splits, hours: float = 0.2) -> list[Utterance]:
    settings = TatoebaSettings(SETTINGS.langs, hours, SETTINGS.num_dev, SETTINGS.num_test)
    return list(plan_training(splits, settings, VoicePlan(1)))


def test_no_english_sentence_is_in_two_splits_in_any_language(splits: Splits) -> None:
    keys = {name: {sentence_key(pair.translation) for pair in pairs} for name, pairs in splits.pairs.items()}
    assert not keys["train"] & keys["dev"] and not keys["train"] & keys["test"] and not keys["dev"] & keys["test"]
    assert splits.held_out == keys["dev"] | keys["test"]


def test_no_source_sentence_is_in_two_splits(splits: Splits) -> None:
    keys = {name: {(pair.lang, sentence_key(pair.sentence)) for pair in pairs} for name, pairs in splits.pairs.items()}
    assert not keys["train"] & keys["dev"] and not keys["train"] & keys["test"] and not keys["dev"] & keys["test"]


def test_a_sentence_of_dev_or_test_is_not_inside_a_longer_text_of_training_either() -> None:
    pairs = [*make_pairs(), Pair("de", "Nein. Das ist es.", "He said no. That is it!")]
    both = [Pair(pair.lang, f"Ja. {pair.sentence}", f"Yes. {pair.translation} Really?") for pair in make_pairs()]
    splits = split_pairs([*pairs, *both], SETTINGS)
    held_out = [pair for name in ("dev", "test") for pair in splits.pairs[name]]
    english = {sentence_key(part) for pair in held_out for part in re.split(r"(?<=[.!?]) ", pair.translation)}
    sources = {(pair.lang, sentence_key(part)) for pair in held_out for part in pair.sentence.split(". ")}
    assert splits.pairs["train"]
    for pair in splits.pairs["train"]:
        assert not english & {sentence_key(part) for part in re.split(r"(?<=[.!?]) ", pair.translation)}
        assert not sources & {(pair.lang, sentence_key(part)) for part in pair.sentence.split(". ")}


def test_languages_share_dev_and_test_and_every_other_pair_is_in_training_or_counted(splits: Splits) -> None:
    for name, size in (("dev", 20), ("test", 30)):
        langs = [pair.lang for pair in splits.pairs[name]]
        assert langs == ["de"] * (size // 2) + ["nl"] * (size // 2)
    assert len(splits.pairs["train"]) > 200 and splits.num_dropped > 0
    assert sum(map(len, splits.pairs.values())) + splits.num_dropped == len(make_pairs())


def test_the_order_of_the_file_changes_nothing_and_the_seed_all(splits: Splits) -> None:
    backwards = make_pairs()[::-1]
    assert split_pairs(backwards, SETTINGS).pairs == splits.pairs
    other = split_pairs(backwards, TatoebaSettings(("de", "nl"), 0.2, 20, 30, seed=2))
    assert set(other.pairs["test"]) != set(splits.pairs["test"])


def test_dev_and_test_have_voices_and_rooms_of_their_own(splits: Splits) -> None:
    voices = VoicePlan(1)
    utterances = [*plan_held_out(splits, voices), *plan(splits)]
    for of in (lambda item: item.variant, lambda item: item.surroundings.room):
        found = {
            split: {of(item) for item in utterances if item.split == split} - {None}
            for split in ("train", "dev", "test")
        }
        assert min(map(len, found.values())) >= 4
        assert not found["train"] & found["dev"] and not found["train"] & found["test"]
        assert not found["dev"] & found["test"]
    assert len({item.file_name for item in utterances}) == len(utterances)


def test_more_hours_add_utterances_and_change_none(splits: Splits) -> None:
    fewer, more = plan(splits, 0.1), plan(splits, 0.4)
    assert set(fewer) < set(more)
    for lang in SETTINGS.langs:
        seconds = sum(expected_seconds(item) for item in more if item.pair.lang == lang)
        assert seconds == pytest.approx(0.2 * 3600, abs=10)


def test_sentences_that_do_not_last_are_spoken_again_in_another_way(splits: Splits) -> None:
    utterances = [item for item in plan(splits, 0.8) if item.pair.lang == "de"]
    pair = utterances[0].pair
    again = [item for item in utterances if item.pair == pair]
    assert len(again) > 1 and len({item.surroundings for item in again}) == len(again)
    num_pairs = sum(pair.lang == "de" for pair in splits.pairs["train"])
    assert len({item.pair for item in utterances[:num_pairs]}) == num_pairs  # none twice before all came once


def test_training_is_spoken_in_many_ways(splits: Splits) -> None:
    utterances = plan(splits, 0.8)
    assert len({item.variant for item in utterances}) >= 25
    surroundings = [item.surroundings for item in utterances if item.surroundings is not None]
    assert len(surroundings) == len(utterances)
    for has in (lambda each: each.room is None, lambda each: each.snr_db is None):
        assert 0.3 < sum(map(has, surroundings)) / len(surroundings) < 0.5  # 0.6 of them have it


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TatoebaSettings(("de", "nl"), 1.0, 1, 30), "num_dev is 1, expected at least one for each language"),
        (TatoebaSettings(("de", "nl"), 1.0, 20, 600), r"too few sentence pairs for num_test = 600: \d+ of de"),
        (TatoebaSettings(("de", "nl", "es"), 1.0, 20, 30), r"num_test = 30: 10 of es are lacking"),
    ],
)
def test_sizes_that_the_pairs_do_not_allow_are_refused(settings: TatoebaSettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_pairs(make_pairs(), settings)


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf")])
def test_hours_that_are_none_are_refused(splits: Splits, hours: float) -> None:
    with pytest.raises(ValueError, match=f"hours is {hours}, expected more than 0"):
        plan(splits, hours)
