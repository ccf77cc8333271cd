"""Masks with windows and chunks against their definition, written as loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from speechllama.llm.attention import additive, attention_mask, choose_attention
from speechllama.llm.prefix_mask import position_ids, visible

LENGTHS, WIDTH, NUM_TEXT, WINDOW = torch.tensor([9, 4]), 9, 6, 3
KINDS = ["sliding_attention", "full_attention", "chunked_attention"]


def is_near(kind: str, query: int, key: int) -> bool:
    """Whether a query sees as far as a key, by their positions."""
    if kind == "chunked_attention":
        return query // WINDOW == key // WINDOW
    return kind == "full_attention" or abs(query - key) < WINDOW  # ahead, too, where the prefix sees itself


@pytest.mark.parametrize("mask", ["causal", "non_causal"])
def test_every_kind_of_layer_gets_its_mask(mask: Any) -> None:
    seen, positions = visible(LENGTHS, WIDTH, NUM_TEXT, mask), position_ids(LENGTHS, WIDTH, NUM_TEXT)
    config = SimpleNamespace(layer_types=KINDS * 2, sliding_window=WINDOW, attention_chunk_size=WINDOW)
    masks = attention_mask(config, seen, positions, torch.float32)
    assert isinstance(masks, dict) and list(masks) == KINDS
    for kind, found in masks.items():
        assert found.shape == seen.shape
        for row in range(len(LENGTHS)):
            for query in range(WIDTH + NUM_TEXT):
                for key in range(WIDTH + NUM_TEXT):
                    places = int(positions[row, query]), int(positions[row, key])
                    expected = seen[row, 0, query, key].item() and is_near(kind, *places)
                    assert (found[row, 0, query, key] == 0).item() == expected, (kind, row, query, key)
    steps = attention_mask(config, seen[:, :, -2:], positions, torch.float32)  # the last queries only, as in a search
    assert all(torch.equal(steps[kind], masks[kind][:, :, -2:]) for kind in KINDS)  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"sliding_window": WINDOW}, "sliding_attention"),
        ({"attention_chunk_size": WINDOW}, "chunked_attention"),
        ({"sliding_window": WINDOW, "layer_types": ["sliding_attention"] * 2}, "sliding_attention"),
        ({"sliding_window": None, "layer_types": ["sliding_attention", "full_attention"]}, "full_attention"),
        ({"sliding_window": WINDOW, "layer_types": ["full_attention"]}, "full_attention"),
        ({}, "full_attention"),
    ],
)
def test_layers_of_one_kind_get_one_mask(settings: dict[str, Any], kind: str) -> None:
    seen, positions = visible(LENGTHS, WIDTH, 0, "causal"), position_ids(LENGTHS, WIDTH, 0)
    config = SimpleNamespace(layer_types=KINDS, sliding_window=WINDOW, attention_chunk_size=WINDOW)
    expected = attention_mask(config, seen, positions, torch.float32)
    found = attention_mask(SimpleNamespace(**settings), seen, positions, torch.float32)
    found = found["full_attention"] if isinstance(found, dict) else found
    assert torch.equal(found, expected[kind])  # type: ignore[index]


def test_hypotheses_in_columns_have_the_window_of_their_positions() -> None:
    positions = torch.tensor([[0, 1, 2, 3, 3, 4, 4, 5, 5]])  # a prefix of 3, then two hypotheses a step
    seen = torch.tensor([[[[1, 1, 1, 1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 1, 0, 1, 0, 1]]]]).bool()
    found = attention_mask(SimpleNamespace(sliding_window=WINDOW), seen, positions, torch.float32)
    assert (found == 0).int().tolist() == [[[[0, 0, 0, 1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 1, 0, 1, 0, 1]]]]  # type: ignore[union-attr]


def test_additive_mask_is_zero_or_the_lowest_number() -> None:
    mask = additive(torch.tensor([True, False]), torch.float16)
    assert mask.tolist() == [0.0, torch.finfo(torch.float16).min]


def test_auto_is_sdpa_where_the_class_has_it() -> None:
    with_sdpa, without = type("A", (), {"_supports_sdpa": True}), type("B", (), {"_supports_sdpa": False})
    assert [choose_attention("auto", kind) for kind in (with_sdpa, without)] == ["sdpa", "eager"]
    assert [choose_attention(name, with_sdpa) for name in ("sdpa", "eager")] == ["sdpa", "eager"]
