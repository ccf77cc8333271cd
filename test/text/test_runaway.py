"""Which cut texts are runaways, and what is said of them."""

from __future__ import annotations

import pytest

from speechllama.text.runaway import describe_cut, is_runaway

EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], False),
        ([5], False),
        ([5, 5, 5], False),
        ([5, 5, 5, 5], True),
        ([9, 8, 7, 5, 5, 5, 5], True),
        ([5, 5, 5, 5, 9], False),  # it has ended before
        ([1, 2, 1, 2, 1, 2, 1, 2], True),
        ([1, 2, 1, 2, 1, 2, 1], False),  # three and a half times
        ([7, 1, 2, 1, 2, 1, 2, 1, 2, 1], True),  # the last repetition is cut
        ([1, 2, 1, 2, 1, 2, 3, 2], False),
        (EIGHT * 4, True),
        (EIGHT * 3 + EIGHT[:7], False),
        ([*EIGHT, 9] * 6, False),  # nine tokens are more than a slip of the tongue: a refrain
    ],
)
def test_the_same_tokens_four_times_at_the_end_are_a_runaway(tokens: list[int], expected: bool) -> None:
    assert is_runaway(tokens) is expected


def test_what_is_said_of_cut_texts() -> None:
    assert describe_cut(0, 0, 9) == ""
    assert describe_cut(3, 0, 9) == "3 of 9 texts were cut at the limit of tokens"
    expected = "3 of 9 texts were cut at the limit of tokens, and 2 of these repeat themselves to the end"
    assert describe_cut(3, 2, 9) == f"{expected} (--decode_options '--no_repeat_ngram_size 4' forbids it)"
