"""Batches of neighbours that stay below a limit with their padding."""

from __future__ import annotations

import random

import pytest

from speechllama.batches import padded_batches


@pytest.mark.parametrize("seed", range(10))
def test_batches_hold_all_in_order_and_as_many_as_fit(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randint(1, 12) for _ in range(40)]
    batches = list(padded_batches(range(40), lengths.__getitem__, 20))
    assert [item for batch in batches for item in batch] == list(range(40))
    for batch, following in zip(batches, [*batches[1:], []], strict=True):
        longest = max(lengths[item] for item in batch)
        assert len(batch) == 1 or len(batch) * longest <= 20
        if following:
            assert (len(batch) + 1) * max(longest, lengths[following[0]]) > 20


def test_an_item_beyond_the_limit_is_a_batch_by_itself() -> None:
    assert list(padded_batches([1, 30, 2, 2], float, 6)) == [[1], [30], [2, 2]]
    assert list(padded_batches([], float, 6)) == []
