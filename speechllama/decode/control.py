"""Where each utterance's audio is; in the control, everybody hears somebody else.

    data directory -> {utterance: place in an ark, seconds}
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechllama.data.data_dir import DataDir
from speechllama.decode.speech2text import FRAMES_PER_SECOND

CONTROL_SEED = 1
AUDIO_TABLES = {"compressed.scp": True, "feats.scp": False}  # table -> is_compressed; the cache is preferred


@dataclass(frozen=True)
class Audio:
    """Where each utterance's audio is; under the control, somebody else's.

    Attributes:
        places: The scp's values by utterance.
        seconds: Durations of that audio.
        is_compressed: Whether it comes from the cache.
    """

    places: Mapping[str, str]
    seconds: Mapping[str, float]
    is_compressed: bool


def find_audio(data: DataDir, control: bool) -> Audio:
    """Choose the cache or the features, and for the control give every utterance another one's audio.

    Raises:
        ValueError: There is neither, or too few utterances for a control.
    """
    table = next((name for name in AUDIO_TABLES if data.table(name)), None)
    if table is None:
        raise ValueError(f"{data.path}: neither {' nor '.join(AUDIO_TABLES)} there; run the feature stage")
    places = data.table(table)
    durations = data.table("utt2dur")
    frames = data.table("utt2num_frames") if table == "feats.scp" else {}
    seconds = {
        utt: float(durations[utt]) if utt in durations else int(frames[utt]) / FRAMES_PER_SECOND for utt in places
    }
    if control:
        other = derange(list(places), data.table("text"))
        places = {utt: places[other[utt]] for utt in places}
        seconds = {utt: seconds[other[utt]] for utt in seconds}
    return Audio(places, seconds, AUDIO_TABLES[table])


def derange(utterances: Sequence[str], text: Mapping[str, str]) -> dict[str, str]:
    """Give every utterance another one, whose text is another, by a fixed seed.

    Raises:
        ValueError: No such exchange exists, as with a single utterance or equal texts.
    """
    shuffled = sorted(utterances)
    random.Random(CONTROL_SEED).shuffle(shuffled)
    for shift in range(1, len(shuffled)):
        other = {utt: shuffled[(index + shift) % len(shuffled)] for index, utt in enumerate(shuffled)}
        if all(not text.get(utt) or text.get(utt) != text.get(partner) for utt, partner in other.items()):
            return other
    raise ValueError(f"no control is possible: {len(utterances)} utterances cannot exchange audio of other texts")
