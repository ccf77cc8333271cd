"""Plan the miniature corpus: sentences, splits and voices, all from one seed.

    grammar -> Pair (lang, sentence, translation) -> Utterance (pair, split, voice, speed, pitch, ...)

No dev or test sentence, nor its translation, nor its voice, occurs in training or in the LLM's text.
Source: ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from speechllama.constants import SPLITS
from speechllama.corpora.mini.grammar import find_language, find_target, sample_pair
from speechllama.corpora.synthetic.acoustics import Surroundings
from speechllama.faults import InputError
from speechllama.text.targets import DEFAULT_TARGET

# Variants of eSpeak whose first three formants lie at 90 to 135 % of the plain voice's: no whisper, croak or robot,
# and no voice that a listener trained on the others cannot follow (as "Lee", whose formants lie at 80 %). Variants in
# one string sound alike and stay in one split.
VOICES = (
    "m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alex", "Andrea", "Annie",
    "Denis", "Diogo", "Gene Gene2", "Hugo", "Mario", "Mike", "Nguyen", "anika", "antonio", "aunty", "ed",
    "john", "max", "michel", "miguel", "pablo", "paul", "pedro", "quincy", "rob robert", "sandro",
    "steph steph2 steph3", "victor",
)  # fmt: skip
NUM_DEV_VOICES, NUM_TEST_VOICES = 4, 6
# eSpeak's French has a quarter more letters a second than its German at the same speed.
SPEED_FACTORS = {"fr": 0.85}
FIRST_CLIP = 17_000_000


@dataclass(frozen=True)
class Settings:
    """Sizes are totals over all languages; languages share them as evenly as can be.

    `num_llm_text` counts text-only pairs over all languages, training sentences included. `target` is the language of
    the translations.
    """

    langs: tuple[str, ...] = ("de", "fr", "es")
    num_train: int = 6000
    num_dev: int = 90
    num_test: int = 450
    num_llm_text: int = 40000
    seed: int = 1
    target: str = DEFAULT_TARGET


@dataclass(frozen=True)
class Pair:
    """A sentence and its translation."""

    lang: str
    sentence: str
    translation: str


@dataclass(frozen=True)
class Utterance:
    """One clip: who says what, and how."""

    pair: Pair
    split: str
    number: int
    variant: str
    speed_wpm: int
    pitch: int
    peak: float
    noise_db: float | None
    surroundings: Surroundings | None = None

    @property
    def file_name(self) -> str:
        """Name of the clip, as Common Voice forms it."""
        return f"common_voice_{self.pair.lang}_{self.number:08d}.mp3"

    @property
    def client_id(self) -> str:
        """128 hex digits as Common Voice's; the same for all clips of a voice in a language."""
        return hashlib.sha512(f"{self.pair.lang} {self.variant}".encode()).hexdigest()


def share(total: int, langs: tuple[str, ...]) -> dict[str, int]:
    """Split a total over languages; the first ones get what is left over."""
    return {lang: total // len(langs) + (place < total % len(langs)) for place, lang in enumerate(langs)}


def check_settings(settings: Settings) -> None:
    """Refuse sizes that make no corpus.

    Raises:
        ValueError: No, unknown or repeated languages, a size below one a language, or too little text.
    """
    for lang in settings.langs:
        find_language(lang)
    find_target(settings.target)
    if settings.target in settings.langs:
        raise InputError(f"langs is {' '.join(settings.langs)!r}, and one of them is the target {settings.target!r}")
    if not settings.langs or len(set(settings.langs)) != len(settings.langs):
        raise InputError(f"langs is {' '.join(settings.langs)!r}, expected different languages")
    for name in ("num_train", "num_dev", "num_test"):
        if getattr(settings, name) < len(settings.langs):
            raise InputError(f"{name} is {getattr(settings, name)}, expected at least one for each language")
    if settings.num_llm_text < settings.num_train:
        size, least = settings.num_llm_text, settings.num_train
        raise InputError(f"num_llm_text is {size}, but it includes num_train = {least}")


def draw_pairs(settings: Settings) -> tuple[dict[str, list[Pair]], list[Pair]]:
    """Draw the sentences of every split, and the LLM's text.

    Held-out sentences are drawn first: training avoids them, and their translations in any language.

    Returns:
        Pairs by split, and the text pairs (training pairs and others, shuffled).
    """
    check_settings(settings)
    totals = {"test": settings.num_test, "dev": settings.num_dev, "train": settings.num_train}
    totals["text"] = settings.num_llm_text - settings.num_train
    pairs: dict[str, list[Pair]] = {name: [] for name in totals}
    used: set[tuple[str, str]] = set()
    held_out_translations: set[str] = set()
    for name, total in totals.items():
        for lang, count in share(total, settings.langs).items():
            random = Random(f"{settings.seed} {name} {lang}")
            while count:
                pair = Pair(lang, *sample_pair(lang, random, settings.target))
                if (lang, pair.sentence) in used or pair.translation in held_out_translations:
                    continue
                used.add((lang, pair.sentence))
                if name in ("test", "dev"):
                    held_out_translations.add(pair.translation)
                pairs[name].append(pair)
                count -= 1
    text = pairs["train"] + pairs.pop("text")
    Random(f"{settings.seed} text").shuffle(text)
    return pairs, text


def divide_voices(seed: int) -> dict[str, list[str]]:
    """Give every split its own voices, the same for all languages."""
    groups = list(VOICES)
    Random(f"{seed} voices").shuffle(groups)
    dev_end = NUM_TEST_VOICES + NUM_DEV_VOICES
    parts = {
        "test": groups[:NUM_TEST_VOICES],
        "dev": groups[NUM_TEST_VOICES:dev_end],
        "train": groups[dev_end:],
    }
    return {split: " ".join(part).split() for split, part in parts.items()}


def plan_utterances(settings: Settings, pairs: dict[str, list[Pair]]) -> list[Utterance]:
    """Decide who reads each sentence, how fast, how high, how loud and with how much noise."""
    voices = divide_voices(settings.seed)
    random = Random(f"{settings.seed} readers")
    utterances: list[Utterance] = []
    for split in reversed(SPLITS):  # the clips of test come first
        for pair in pairs[split]:
            utterances.append(
                Utterance(
                    pair=pair,
                    split=split,
                    number=FIRST_CLIP + len(utterances),
                    variant=random.choice(voices[split]),
                    speed_wpm=round(SPEED_FACTORS.get(pair.lang, 1.0) * random.randint(110, 140)),
                    pitch=random.randint(40, 60),
                    peak=round(random.uniform(0.3, 0.9), 3),
                    noise_db=round(random.uniform(-60.0, -45.0), 1) if random.random() < 0.5 else None,
                )
            )
    return utterances
