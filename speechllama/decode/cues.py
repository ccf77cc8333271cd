"""Subtitles that can be read: text in lines of a limited width, two at a time, each with its share of the time.

segment: start, end, text -> cues: start, end, up to MAX_LINES lines of up to LINE_WIDTH columns

Source: the width and the number of lines are those that broadcasters and streaming services ask for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

LINE_WIDTH = 42  # columns; Chinese and Japanese characters take two
MAX_LINES = 2


class Cue(NamedTuple):
    """What is on the screen from start to end, in seconds."""

    start: float
    end: float
    lines: list[str]


def cut_into_cues(start: float, end: float, text: str) -> Iterator[Cue]:
    """Cut a text into cues; the time is divided by the width of their text.

    Args:
        start: Of the text, in seconds.
        end: Likewise.
        text: Words separated by single spaces, or a script without spaces.

    Yields:
        Cues, each from the end of the one before.
    """
    lines = balance(text, LINE_WIDTH)
    groups = [lines[first : first + MAX_LINES] for first in range(0, len(lines), MAX_LINES)]
    total = sum(map(width, lines))
    done = 0
    for group in groups:
        begin, done = done, done + sum(map(width, group))
        yield Cue(start + (end - start) * begin / total, start + (end - start) * done / total, group)


def balance(text: str, limit: int) -> list[str]:
    """Break a text into as few lines as the limit allows, as equally long as they can be."""
    lines = wrap(text, limit)
    for narrower in range(limit - 1, 0, -1):
        tried = wrap(text, narrower)
        if len(tried) > len(lines):
            break
        lines = tried
    return lines


def wrap(text: str, limit: int) -> list[str]:
    """Fill lines of up to `limit` columns, word by word; a word that is wider is cut, as are scripts without spaces."""
    lines, line = list[str](), ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined) <= limit:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _cut(word, limit)
        lines += full
    return [*lines, line] if line else lines


def width(text: str) -> int:
    """Columns that a text takes on a screen."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _cut(word: str, limit: int) -> list[str]:
    """Cut a word into pieces of up to `limit` columns; a character that is wider stays whole."""
    pieces = [""]
    for character in word:
        if pieces[-1] and width(pieces[-1] + character) > limit:
            pieces.append("")
        pieces[-1] += character
    return pieces
