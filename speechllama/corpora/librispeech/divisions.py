"""Divisions of LibriSpeech into train, dev and test; to add one, add a record to DIVISIONS.

--division 100 -> parts of each set, speakers that are held out of the training parts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from speechllama.constants import SPLITS
from speechllama.registry import Registry

# Utterances of each part, as the corpus has them.
# Source: openslr.org/12 (Panayotov et al., ICASSP 2015) and openslr.org/31 (mini-LibriSpeech).
NUM_UTTERANCES = {
    "train-clean-100": 28_539, "train-clean-360": 104_014, "train-other-500": 148_688, "dev-clean": 2_703,
    "dev-other": 2_864, "test-clean": 2_620, "test-other": 2_939, "train-clean-5": 1_519, "dev-clean-2": 1_089,
}  # fmt: skip
# Speakers of mini-LibriSpeech's train-clean-5 that have no part of their own and are held out by name. Those of the
# sample whose recordings are the original flac (the others are Ogg Opus): the three with the most utterances are test.
# By the pitch of their voices (median 116, 180 and 205 Hz; dev 111 and 200 Hz), each set has both sexes.
DEV_SPEAKERS = ("226", "2136")
TEST_SPEAKERS = ("3242", "6272", "7859")


@dataclass(frozen=True)
class Division:
    """Which parts and speakers are train, dev and test.

    Attributes:
        name: Its name in `--division`.
        train_parts: Parts for training, without the speakers held out.
        dev_parts: Parts for dev.
        test_parts: Parts for test.
        dev_speakers: Speakers of the training parts that are dev instead.
        test_speakers: Speakers of the training parts that are test instead.
    """

    name: str
    train_parts: tuple[str, ...] = ()
    dev_parts: tuple[str, ...] = ()
    test_parts: tuple[str, ...] = ()
    dev_speakers: tuple[str, ...] = ()
    test_speakers: tuple[str, ...] = ()

    def parts(self) -> Iterator[tuple[str, str]]:
        """Give each set with each of its parts."""
        for name in SPLITS:
            yield from ((name, part) for part in getattr(self, f"{name}_parts"))

    def set_of(self, name: str, speaker: str) -> str:
        """Name the set of a speaker, given the set of the part that the speaker is in."""
        if name != "train":
            return name
        if speaker in self.test_speakers:
            return "test"
        return "dev" if speaker in self.dev_speakers else "train"

    def find_faults(self, further_parts: tuple[str, ...] = ()) -> list[str]:
        """Say what is wrong with it, whatever the corpus holds."""
        parts = [*(part for _, part in self.parts()), *further_parts]
        faults = [
            f"part {part!r} is named {count} times; expected once in all sets together"
            for part, count in Counter(parts).items()
            if count > 1
        ]
        faults += [
            f"part {part!r}: the name of a set; --more_parts needs another" for part in {*further_parts} & {*SPLITS}
        ]
        both = [speaker for speaker in self.dev_speakers if speaker in self.test_speakers]
        faults += [f"speaker {speaker} is in dev and in test; expected in one of them" for speaker in both]
        for name in SPLITS:
            if not (getattr(self, f"{name}_parts") or getattr(self, f"{name}_speakers", ())):
                speakers = "" if name == "train" else f" or --{name}_speakers of the training parts"
                faults.append(f"nothing is {name}; an own division needs --{name}_parts{speakers}")
        return faults


_SAMPLE = Division("sample", ("train-clean-5",), dev_speakers=DEV_SPEAKERS, test_speakers=TEST_SPEAKERS)
_CLEAN = ("train-clean-100", "train-clean-360")
DIVISIONS: Registry[Division] = Registry(
    "division of LibriSpeech",
    [
        _SAMPLE,
        # mini-LibriSpeech has no third part, so dev are speakers held out of training.
        Division("mini", ("train-clean-5",), test_parts=("dev-clean-2",), dev_speakers=DEV_SPEAKERS),
        Division("100", _CLEAN[:1], ("dev-clean",), ("test-clean",)),
        Division("460", _CLEAN, ("dev-clean",), ("test-clean",)),
        Division("960", (*_CLEAN, "train-other-500"), ("dev-clean", "dev-other"), ("test-clean",)),
    ],
)
