"""Subtitles have two lines of 42 columns at most, and lose no word and no time."""

from __future__ import annotations

import random

import pytest

from speechllama.decode.cues import balance, cut_into_cues, width, wrap

LONG = (
    "The encoder was trained on transcripts before, and its output is compressed to about the length of the text, "
    "which the language model reads in place of words."
)


def test_a_short_text_is_one_cue_of_one_line() -> None:
    assert list(cut_into_cues(1.0, 3.0, "The dog sleeps today.")) == [(1.0, 3.0, ["The dog sleeps today."])]


def test_a_long_text_is_cut_into_cues_that_share_its_time() -> None:
    cues = list(cut_into_cues(10.0, 20.0, LONG))
    assert [len(cue.lines) for cue in cues] == [2, 2]
    assert " ".join(line for cue in cues for line in cue.lines) == LONG
    assert all(width(line) <= 42 for cue in cues for line in cue.lines)
    assert cues[0].start == 10.0 and cues[0].end == cues[1].start and cues[1].end == pytest.approx(20.0)
    first, second = (sum(map(width, cue.lines)) for cue in cues)
    assert cues[0].end - 10.0 == pytest.approx(10.0 * first / (first + second))


def test_lines_are_as_equal_as_their_words_allow() -> None:
    text = "the dog sleeps in the old house by the sea now"
    assert wrap(text, 42) == ["the dog sleeps in the old house by the sea", "now"]
    assert balance(text, 42) == ["the dog sleeps in the", "old house by the sea now"]


def test_scripts_without_spaces_and_endless_words_are_cut_by_their_width() -> None:
    text = "\u732b\u5728\u7761\u89c9" * 20  # 80 characters, 160 columns
    (first, second) = cut_into_cues(0.0, 8.0, text)
    assert first.lines + second.lines == [text[:20], text[20:40], text[40:60], text[60:]]
    assert wrap("a" * 100, 42) == ["a" * 42, "a" * 42, "a" * 16]
    assert wrap("an " + "b" * 50 + " end", 42) == ["an", "b" * 42, "b" * 8 + " end"]


@pytest.mark.parametrize("seed", range(20))
def test_no_text_is_lost_and_no_line_is_too_wide(seed: int) -> None:
    draw = random.Random(seed)
    words = ["x" * draw.randint(1, draw.choice((4, 12, 60))) for _ in range(draw.randint(1, 60))]
    lines = balance(" ".join(words), 42)
    assert "".join(lines).replace(" ", "") == "".join(words)
    assert all(0 < width(line) <= 42 for line in lines)
    assert len(lines) == len(wrap(" ".join(words), 42))
