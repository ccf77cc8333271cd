"""Layout and mask of the LLM's input against their definitions written as loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from speechllama.llm.prefix_mask import join_right_aligned, position_ids, visible

LENGTHS, WIDTH, NUM_TEXT = torch.tensor([3, 5, 1]), 5, 4


@pytest.mark.parametrize("kind", ["causal", "non_causal"])
def test_mask_equals_the_definition(kind: Any) -> None:
    mask = visible(LENGTHS, WIDTH, NUM_TEXT, kind)
    assert mask.shape == (3, 1, WIDTH + NUM_TEXT, WIDTH + NUM_TEXT)
    for row, length in enumerate(LENGTHS.tolist()):
        for query in range(WIDTH + NUM_TEXT):
            for key in range(WIDTH + NUM_TEXT):
                padded = key < WIDTH - length or query < WIDTH - length
                earlier = key <= query
                both_prefix = query < WIDTH and key < WIDTH
                expected = not padded and (earlier or (kind == "non_causal" and both_prefix))
                expected = expected or query == key  # a padded query sees itself
                assert mask[row, 0, query, key].item() == expected, (row, query, key)


def test_positions_count_from_the_utterances_own_start() -> None:
    assert position_ids(LENGTHS, WIDTH, 2).tolist() == [
        [0, 0, 0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5, 6],
        [0, 0, 0, 0, 0, 1, 2],
    ]


def test_parts_are_joined_without_gaps_and_right_aligned() -> None:
    first = torch.tensor([[[1.0], [2.0]], [[3.0], [99.0]]])
    second = torch.tensor([[[4.0], [99.0], [99.0]], [[5.0], [6.0], [7.0]]])
    empty = torch.zeros(2, 0, 1)
    prefix = join_right_aligned(
        [(first, torch.tensor([2, 1])), (second, torch.tensor([1, 3])), (empty, torch.tensor([0, 0]))]
    )
    assert prefix.lengths.tolist() == [3, 4]
    assert prefix.embeddings[:, :, 0].tolist() == [[0.0, 1.0, 2.0, 4.0], [3.0, 5.0, 6.0, 7.0]]


def test_a_padded_query_sees_only_itself() -> None:
    assert visible(torch.tensor([3, 1]), 3, 0, "non_causal")[1, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_an_unknown_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown prefix_mask 'noncausal', expected one of causal, non_causal"):
        visible(LENGTHS, WIDTH, NUM_TEXT, "noncausal")  # type: ignore[arg-type]
