"""How much speech there is and how much disk it takes, before any of it is read.

data directories, or the corpus's tables -> Amount by split -> gigabytes by folder
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllama.constants import SAMPLE_RATE, SPLITS
from speechllama.files import read_table
from speechllama.frontend.feature_format import FeatureFormat
from speechllama.frontend.front_ends import FRONT_ENDS

SECONDS_PER_CLIP = 5.0  # if durations are unknown; CoVoST 2's clips have 4 to 6 s on average
VECTORS_PER_SECOND = 7.5  # compressed: CTC units, and the pauses between them
MARGIN = 1.1  # of the estimate; a full disk costs more than a gigabyte that stays free


@dataclass(frozen=True)
class Amount:
    """Utterances of a split, and their duration in seconds."""

    num_utterances: int
    seconds: float


def read_amounts(datadir: str, rows: Mapping[str, int], seconds_each: float = SECONDS_PER_CLIP) -> dict[str, Amount]:
    """Count what is there.

    Args:
        datadir: Data directories of stage `data`.
        rows: Rows of the corpus's tables by split; without any, what is in `datadir` counts.
        seconds_each: Duration of a row's recording, about.

    Returns:
        Amounts by split; empty if nothing is known yet.
    """
    durations = [Path(datadir) / split / "utt2dur" for split in SPLITS]
    if not rows and all(path.is_file() for path in durations):
        read = [[float(seconds) for seconds in read_table(path).values()] for path in durations]
        return {split: Amount(len(each), sum(each)) for split, each in zip(SPLITS, read, strict=True)}
    counts = {split: rows.get(split, 0) for split in SPLITS} if rows else {}
    return {split: Amount(count, count * seconds_each) for split, count in counts.items()}


def feature_bytes(amounts: Mapping[str, Amount], features: FeatureFormat) -> float:
    """Disk that stage `features` needs; nothing where the features stay where they are."""
    if FRONT_ENDS[features.frontend].reads == "features":
        return 0.0
    seconds = sum(amount.seconds for amount in amounts.values())
    if features.is_trained:  # waveforms
        return seconds * SAMPLE_RATE * 2
    bytes_each = 2 if features.frontend_conf.get("storage") == "int16" else 4
    return seconds / features.frame_shift * features.feature_dim * bytes_each


def compressed_bytes(amounts: Mapping[str, Amount], width: int) -> float:
    """Disk that stage `compress` needs, for vectors of so many numbers."""
    return sum(amount.seconds for amount in amounts.values()) * VECTORS_PER_SECOND * width * 4


def checkpoint_bytes(num_trained: int, num_frozen: int, num_kept: int) -> float:
    """Disk of a training: two checkpoints, those of trained weights with Adam's moments, the best epochs, three more.

    Args:
        num_trained: Parameters that train.
        num_frozen: Frozen ones that the checkpoints have too.
        num_kept: The best epochs.
    """
    return 4.0 * (num_trained * (2 * 3 + num_kept + 3) + num_frozen * (2 + num_kept + 3))


def check_disk(needs: Sequence[tuple[str, str, float]], faults: list[str]) -> list[str]:
    """Compare the disk space that is needed with what is free; folders of one disk are added up.

    Args:
        needs: Purpose, folder (it need not exist yet) and bytes.
        faults: Gets a line for each disk that is too small.

    Returns:
        A line for each disk.
    """
    disks: dict[int, list[tuple[str, Path, float]]] = {}
    for what, folder, size in needs:
        place = Path(folder).absolute()
        while not place.exists():
            place = place.parent
        disks.setdefault(os.stat(place).st_dev, []).append((what, place, size))
    lines = []
    for entries in disks.values():
        place, total = entries[0][1], sum(size for _, _, size in entries) * MARGIN
        free = shutil.disk_usage(place).free
        parts = ", ".join(f"{what} {size / 1e9:.1f}" for what, _, size in entries)
        line = f"{place}: about {total / 1e9:.1f} GB needed ({parts}; a tenth more), {free / 1e9:.1f} GB free"
        lines.append(line)
        if total > free:
            faults.append(f"{line}: make room, or give other folders (--dumpdir, --expdir; HF_HOME for a hub LLM)")
    return lines
