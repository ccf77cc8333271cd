"""The audio of each utterance; in the control, that of another utterance.

data directory -> {utterance: place in an ark, seconds}
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.data.ark import read_batch, stored_width
from speechllama.data.data_dir import TARGET_TABLE, DataDir
from speechllama.faults import InputError
from speechllama.frontend.feature_format import read_format

if TYPE_CHECKING:
    from speechllama.model.audio import AudioInput, Compressed, Features

CONTROL_SEED = 1
COMPRESSED, FEATURES = "compressed.scp", "feats.scp"


@dataclass(frozen=True)
class Audio:
    """Where each utterance's audio is; in the control, that of another utterance.

    Attributes:
        table: The scp it comes from.
        path: That scp.
        places: The scp's values by utterance.
        seconds: Durations of that audio.
        width: Numbers in a frame of features; None for compressed ones, which the model knows.
    """

    table: str
    path: Path
    places: Mapping[str, str]
    seconds: Mapping[str, float]
    width: int | None = None

    @property
    def kind(self) -> type[Compressed] | type[Features]:
        """What the table holds."""
        from speechllama.model.audio import (
            Compressed,
            Features,
        )  # imports torch, which takes seconds and is not needed to merge

        return Compressed if self.table == COMPRESSED else Features

    def read(self, utterances: Sequence[str]) -> AudioInput:
        """Read and pad the audio of some utterances."""
        return self.kind.pad(read_batch(self.places, utterances, self.path, self.width))


def find_audio(data: DataDir, control: bool, keeps_language: bool = True) -> Audio:
    """Find the compressed features, or else the features; in the control, give each utterance another one's.

    Args:
        data: The data directory.
        control: Whether to exchange the audio.
        keeps_language: As of `exchange`.

    Raises:
        ValueError: There is neither, or a control of a single utterance.
    """
    table = next((name for name in (COMPRESSED, FEATURES) if data.table(name)), None)
    if table is None:
        raise InputError(f"{data.path}: neither {COMPRESSED} nor {FEATURES} there; run stage `features`")
    places = data.table(table)
    durations = data.seconds
    frames = data.num_frames if table == FEATURES else {}
    shift, width = read_format(data.path).frame_shift, stored_width(data.path) if table == FEATURES else None
    seconds = {utt: durations[utt] if utt in durations else frames[utt] * shift for utt in places}
    if control:
        other = exchange(list(places), data, keeps_language)
        places = {utt: places[other[utt]] for utt in places}
        seconds = {utt: seconds[other[utt]] for utt in seconds}
    return Audio(table, data.path / table, places, seconds, width)


def exchange(utterances: Sequence[str], data: DataDir, keeps_language: bool = True) -> dict[str, str]:
    """Assign another utterance to each, as `derange`; of several target languages each exchanges within itself.

    There, also the language of the speech is kept, so that the prompt fits the audio. An utterance that is the only one
    of its pair exchanges with others that are, or with those of another pair.

    Args:
        utterances: In any order.
        data: Their data directory.
        keeps_language: Whether a set with several target languages exchanges within a language pair only. Of a task
            that writes labels, such as the language, the control would then hear what it is to find out.

    Raises:
        ValueError: There is no other utterance.
    """
    targets, languages, text = data.table(TARGET_TABLE), data.table("utt2lang"), data.table("text")
    if not keeps_language or len({targets.get(utterance) for utterance in utterances}) < 2:
        return derange(utterances, text)
    groups: dict[tuple[str, str], list[str]] = {}
    for utterance in utterances:
        groups.setdefault((targets.get(utterance, ""), languages.get(utterance, "")), []).append(utterance)
    alone = [group[0] for group in groups.values() if len(group) == 1]
    whole = [group for group in groups.values() if len(group) > 1]
    if alone:
        logging.warning(
            "control: %d utterances are the only ones of their languages, so they get audio of another pair", len(alone)
        )
        whole = [*whole, alone] if len(alone) > 1 else [[*whole[0], *alone], *whole[1:]]
    return {utterance: other for group in whole for utterance, other in derange(group, text).items()}


def derange(utterances: Sequence[str], text: Mapping[str, str]) -> dict[str, str]:
    """Assign another utterance to each, drawn with a fixed seed, with another text if possible.

    Each utterance gets the next one in a random circle. One that got an equal text then swaps with another utterance,
    so that both have different texts; if such a swap exists, it is found.

    Args:
        utterances: In any order; the result does not depend on it.
        text: Their references; utterances without one count as different.

    Returns:
        The utterance whose audio each one gets: never its own, and each one once.

    Raises:
        ValueError: There is no other utterance.
    """
    if len(utterances) < 2:
        raise InputError(f"no control is possible: {len(utterances)} utterances cannot exchange their audio")
    draw = random.Random(CONTROL_SEED)
    circle = sorted(utterances)
    draw.shuffle(circle)
    other = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    draw.shuffle(circle)
    words = {utt: text.get(utt) or (utt,) for utt in circle}
    for own in dict.fromkeys(words[utt] for utt in circle if words[utt] == words[other[utt]]):
        free = (utt for utt in circle if own not in (words[utt], words[other[utt]]))
        for utt in [utt for utt in circle if words[utt] == words[other[utt]] == own]:
            partner = next(free, utt)
            other[utt], other[partner] = other[partner], other[utt]
    num_equal = sum(words[utt] == words[other[utt]] for utt in circle)
    if num_equal:
        logging.warning("control: %d of %d get audio of an equal text; most texts are the same", num_equal, len(circle))
    return other
