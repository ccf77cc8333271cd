"""Where a recipe's corpus is, as the data stage has it in the first line of its marker.

DATADIR/.data.done, or .data.done.begun -> the place that `--corpus` named
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DATA_MARKER = ".data.done"
SETTING = re.compile(r" corpus=((?:'[^']*'|\"'\"|[^\s'\"])+)")  # as shlex.quote writes it


def data_marker(datadir: str) -> str:
    """Name the marker of the data stage."""
    return f"{datadir}/{DATA_MARKER}"


def corpus_setting(place: str) -> str:
    """Write the place as a setting of the data stage, whatever marks are in it."""
    return f" corpus={shlex.quote(place)}"


def remembered_corpus(datadir: str) -> str:
    """Give the place with which the data stage was last begun; "" where there is none."""
    for name in (f"{data_marker(datadir)}.begun", data_marker(datadir)):
        if Path(name).is_file():
            with Path(name).open(encoding="utf-8", errors="surrogateescape") as stream:
                found = SETTING.search(stream.readline())
            return shlex.split(found[1])[0] if found else ""
    return ""
