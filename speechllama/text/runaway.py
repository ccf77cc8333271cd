"""Texts that repeat themselves without end: tokens of a cut text -> whether it is one, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

MIN_REPEATS, MAX_UNIT = 4, 8
ADVICE = "no_repeat_ngram_size 4"


def is_runaway(tokens: Sequence[int]) -> bool:
    """Tell whether a text ends with the same 1 to 8 tokens at least four times in a row.

    The limit may have cut the last repetition; what ends with a part of the unit also ends with a rotated unit.

    Args:
        tokens: Of a text that the limit has cut. A text that ends by itself is none, whatever it repeats.
    """
    for unit in range(1, MAX_UNIT + 1):
        tail = tokens[-MIN_REPEATS * unit :]
        if len(tail) == MIN_REPEATS * unit and list(tail[:-unit]) == list(tail[unit:]):
            return True
    return False


def describe_cut(num_cut: int, num_runaway: int, total: int) -> str:
    """Say how many of a set's texts were cut, and what helps if some of them repeat themselves; "" if none was."""
    if not num_cut:
        return ""
    text = f"{num_cut} of {total} texts were cut at the limit of tokens"
    if num_runaway:
        text += f", and {num_runaway} of these repeat themselves to the end (--decode_options '--{ADVICE}' forbids it)"
    return text
