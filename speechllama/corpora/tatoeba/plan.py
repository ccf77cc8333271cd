"""Plan the spoken Tatoeba corpus: splits, voices, rooms and noises, all from one seed.

    Pairs -> Pairs by split -> Utterance (pair, split, voice, speed, pitch, room, noise, ...) for as many hours as asked

The split is by English sentence over all languages: what dev or test should be translated to is no translation in
training, and no source sentence of theirs is one of training's, case and punctuation apart. Dev and test have voices
and rooms of their own. What an utterance is does not depend on the number of hours: more of them add utterances.
Source: ours.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from speechllama.corpora.mini.plan import FIRST_CLIP, SPEED_FACTORS, Pair, Utterance, divide_voices, share
from speechllama.corpora.synthetic.acoustics import Room, Surroundings
from speechllama.faults import InputError
from speechllama.text.filter import sentence_key, sentence_keys

HELD_OUT = ("test", "dev")
FIRST_NUMBERS = {"test": FIRST_CLIP, "dev": FIRST_CLIP + 1_000_000, "train": FIRST_CLIP + 2_000_000}
NUM_ROOMS = {"test": 20, "dev": 20, "train": 400}
SPEED_WPM, PITCH, PEAK = (130, 200), (30, 70), (0.2, 0.9)
T60_SECONDS, DELAY_MS, DIRECT_DB = (0.15, 0.7), (2.0, 10.0), (0.0, 12.0)
SNR_DB, SLOPE_DB = (8.0, 30.0), (-6.0, 0.0)
ROOM_SHARE, NOISE_SHARE = 0.6, 0.6  # of the utterances
# Seconds of a sentence at 170 words a minute: (a, b) of a + b * characters, fitted to 60 sentences of Tatoeba a
# language. The report of stage `data` has the true hours.
SECONDS = {"de": (0.108, 0.0495), "es": (0.0, 0.0552), "fr": (0.007, 0.0429), "nl": (0.025, 0.0546)}
FITTED_WPM = 170


@dataclass(frozen=True)
class TatoebaSettings:
    """Sizes are totals over all languages; languages share them evenly.

    Attributes:
        langs: Source languages.
        hours: Of training speech, about; where the sentences do not last, they are spoken again in other ways.
        num_dev: Development utterances.
        num_test: Test utterances.
        seed: Of splits, voices, rooms and noise.
    """

    langs: tuple[str, ...] = ("de", "fr", "es", "nl")
    hours: float = 100.0
    num_dev: int = 400
    num_test: int = 1000
    seed: int = 1


@dataclass
class Splits:
    """Pairs of each split, and what must not be in the LLM's text.

    Attributes:
        pairs: By split; those of training in the order in which they are spoken, languages one after the other.
        held_out: `sentence_keys` of the English sides of dev and test.
        num_dropped: Pairs in no split: they share a sentence with dev or test.
    """

    pairs: dict[str, list[Pair]]
    held_out: set[str] = field(default_factory=set)
    num_dropped: int = 0


def shuffled(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The pairs in an order that depends on the seed and on themselves only, not on the order of a file."""

    def rank(pair: Pair) -> bytes:
        return hashlib.sha1(f"{seed}\t{pair.lang}\t{pair.sentence}\t{pair.translation}".encode()).digest()

    return sorted(pairs, key=rank)


def split_pairs(pairs: Sequence[Pair], settings: TatoebaSettings) -> Splits:
    """Divide the pairs by English sentence.

    English sides are drawn for test, then for dev, until every language has its number, at most one pair a side and
    language. All others are for training, but for pairs one of whose sides holds a sentence of dev or test.

    Raises:
        ValueError: A size below one a language, or too few pairs for that many.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in shuffled(pairs, settings.seed):
        groups.setdefault(sentence_key(pair.translation), []).append(pair)
    splits = Splits({name: [] for name in (*HELD_OUT, "train")})
    sources: set[tuple[str, str]] = set()
    keys = iter(list(groups))
    for name, total in (("test", settings.num_test), ("dev", settings.num_dev)):
        if total < len(settings.langs):
            raise InputError(f"num_{name} is {total}, expected at least one for each language")
        wanted = share(total, settings.langs)
        while any(wanted.values()):
            key = next(keys, None)
            if key is None:
                lacking = ", ".join(f"{count} of {lang}" for lang, count in wanted.items() if count)
                raise InputError(f"too few sentence pairs for num_{name} = {total}: {lacking} are lacking")
            free = [pair for pair in reversed(groups[key]) if not shares(pair, splits.held_out, sources)]
            chosen = {pair.lang: pair for pair in free if wanted[pair.lang]}
            for lang, pair in chosen.items():
                splits.pairs[name].append(pair)
                wanted[lang] -= 1
            for pair in chosen.values():
                splits.held_out |= sentence_keys(pair.translation)
                sources |= {(pair.lang, key) for key in sentence_keys(pair.sentence)}
    for group in groups.values():
        splits.pairs["train"] += (pair for pair in group if not shares(pair, splits.held_out, sources))
    splits.pairs["train"] = shuffled(splits.pairs["train"], settings.seed)
    for name, chosen_pairs in splits.pairs.items():
        chosen_pairs.sort(key=lambda pair: settings.langs.index(pair.lang))  # stable: the order within stays
        missing = set(settings.langs) - {pair.lang for pair in chosen_pairs}
        if missing:
            raise InputError(f"no {name} pairs are left of {' '.join(sorted(missing))}; make num_dev, num_test smaller")
    splits.num_dropped = len(pairs) - sum(map(len, splits.pairs.values()))
    return splits


def shares(pair: Pair, held_out: set[str], sources: set[tuple[str, str]]) -> bool:
    """Whether one of its sides holds a sentence that is held out: an English one, or a source one of its language."""
    if sentence_keys(pair.translation) & held_out:
        return True
    return any((pair.lang, key) in sources for key in sentence_keys(pair.sentence))


def make_rooms(seed: int) -> dict[str, list[Room]]:
    """Give every split its own rooms."""
    random = Random(f"{seed} rooms")
    return {
        split: [Room(random.getrandbits(32), random.uniform(*T60_SECONDS), random.uniform(*DELAY_MS)) for _ in range(n)]
        for split, n in NUM_ROOMS.items()
    }


class VoicePlan:
    """Decides who reads a sentence, how and where; the same for the same seed, language and number.

    Args:
        seed: Of all that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.voices = divide_voices(seed)
        self.rooms = make_rooms(seed)

    def choose(self, pair: Pair, split: str, index: int) -> Utterance:
        """Make the utterance.

        Args:
            pair: What to say.
            split: Whose voices and rooms.
            index: Counts the utterances of this language and split.
        """
        number = FIRST_NUMBERS[split] + index
        random = Random(f"{self.seed} {pair.lang} {number}")
        room = random.choice(self.rooms[split]) if random.random() < ROOM_SHARE else None
        surroundings = Surroundings(
            room=room,
            direct_db=round(random.uniform(*DIRECT_DB), 1),
            snr_db=round(random.uniform(*SNR_DB), 1) if random.random() < NOISE_SHARE else None,
            slope_db=round(random.uniform(*SLOPE_DB), 1),
            noise_seed=random.getrandbits(32),
        )
        return Utterance(
            pair=pair,
            split=split,
            number=number,
            variant=random.choice(self.voices[split]),
            speed_wpm=round(SPEED_FACTORS.get(pair.lang, 1.0) * random.randint(*SPEED_WPM)),
            pitch=random.randint(*PITCH),
            peak=round(random.uniform(*PEAK), 3),
            noise_db=None,
            surroundings=surroundings,
        )


def expected_seconds(utterance: Utterance) -> float:
    """About how long an utterance will be."""
    base, each = SECONDS[utterance.pair.lang]
    return (base + each * len(utterance.pair.sentence)) * FITTED_WPM / utterance.speed_wpm


def plan_held_out(splits: Splits, voices: VoicePlan) -> list[Utterance]:
    """The utterances of dev and test."""
    planned: list[Utterance] = []
    for split in HELD_OUT:
        counts: Counter[str] = Counter()
        for pair in splits.pairs[split]:
            planned.append(voices.choose(pair, split, counts[pair.lang]))
            counts[pair.lang] += 1
    return planned


def plan_training(splits: Splits, settings: TatoebaSettings, voices: VoicePlan) -> Iterator[Utterance]:
    """The utterances of training, language by language, until the hours are reached.

    Raises:
        ValueError: The hours are not above 0.
    """
    if not (settings.hours > 0 and math.isfinite(settings.hours)):
        raise InputError(f"hours is {settings.hours}, expected more than 0")
    for lang in settings.langs:
        pairs = [pair for pair in splits.pairs["train"] if pair.lang == lang]
        seconds, index = settings.hours * 3600 / len(settings.langs), 0
        while seconds > 0:
            utterance = voices.choose(pairs[index % len(pairs)], "train", index)
            yield utterance
            seconds -= expected_seconds(utterance)
            index += 1
