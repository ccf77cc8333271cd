"""The audio of each utterance; in the control, that of another utterance.

data directory -> {utterance: place in an ark, seconds}
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechllama.data.ark import read_matrix
from speechllama.data.data_dir import DataDir
from speechllama.data.front_ends import read_format

if TYPE_CHECKING:
    from speechllama.model.audio import AudioInput, Compressed, Features

CONTROL_SEED = 1
COMPRESSED, FEATURES = "compressed.scp", "feats.scp"


@dataclass(frozen=True)
class Audio:
    """Where each utterance's audio is; under the control, that of another one.

    Attributes:
        table: The scp it comes from.
        places: The scp's values by utterance.
        seconds: Durations of that audio.
    """

    table: str
    places: Mapping[str, str]
    seconds: Mapping[str, float]

    @property
    def kind(self) -> type[Compressed] | type[Features]:
        """What the table holds."""
        from speechllama.model.audio import Compressed, Features  # torch, which takes seconds and merging does not need

        return Compressed if self.table == COMPRESSED else Features

    def read(self, utterances: Sequence[str]) -> AudioInput:
        """Read and pad the audio of some utterances."""
        return self.kind.pad([read_matrix(self.places[utterance]) for utterance in utterances])


def find_audio(data: DataDir, control: bool) -> Audio:
    """Choose the cache or the features, and for the control give every utterance another one's audio.

    Raises:
        ValueError: There is neither, or a single utterance for a control.
    """
    table = next((name for name in (COMPRESSED, FEATURES) if data.table(name)), None)
    if table is None:
        raise ValueError(f"{data.path}: neither {COMPRESSED} nor {FEATURES} there; run stage `features`")
    places = data.table(table)
    durations = data.table("utt2dur")
    frames = data.table("utt2num_frames") if table == FEATURES else {}
    shift = read_format(data.path).frame_shift
    seconds = {utt: float(durations[utt]) if utt in durations else int(frames[utt]) * shift for utt in places}
    if control:
        other = derange(list(places), data.table("text"))
        places = {utt: places[other[utt]] for utt in places}
        seconds = {utt: seconds[other[utt]] for utt in seconds}
    return Audio(table, places, seconds)


def derange(utterances: Sequence[str], text: Mapping[str, str]) -> dict[str, str]:
    """Give every utterance another one, drawn by a fixed seed, and of another text where there are enough of them.

    Everyone gets the next one in a random circle. Who got an equal text then exchanges with somebody, so that both have
    another one afterwards; as long as any such exchange exists for a text, it is found.

    Args:
        utterances: In any order, which changes nothing.
        text: Their references; utterances without one count as different.

    Returns:
        Whose audio each utterance gets: never its own, and everybody's once.

    Raises:
        ValueError: There is no other utterance.
    """
    if len(utterances) < 2:
        raise ValueError(f"no control is possible: {len(utterances)} utterances cannot exchange their audio")
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
