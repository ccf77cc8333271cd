"""Transformer stack: padding changes nothing, positions are those of the formula."""

from __future__ import annotations

import math

import pytest
import torch

from speechllama.model.layers import TransformerConfig, TransformerStack, length_mask, sinusoidal_positions

CONFIG = TransformerConfig(num_layers=2, dim=16, num_heads=2, ffn_dim=32, dropout=0.0)


def test_length_mask_marks_the_first_positions() -> None:
    expected = torch.tensor([[True, False, False], [True, True, True]])
    assert torch.equal(length_mask(torch.tensor([1, 3]), 3), expected)


def test_positions_follow_the_formula() -> None:
    positions = sinusoidal_positions(5, 6, torch.device("cpu"))
    for place in range(5):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert positions[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert positions[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_padding_never_changes_an_utterance(training: bool) -> None:
    torch.manual_seed(0)
    stack = TransformerStack(CONFIG).train(training)
    lengths = torch.tensor([3, 7, 5])
    hidden = torch.randn(3, 9, 16)
    batched = stack(hidden, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = stack(hidden[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(batched[row, :length], alone[0], atol=1e-5, rtol=1e-5)
        assert not batched[row, length:].any()


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="dim 15 must be even and a multiple of num_heads 2"):
        TransformerStack(TransformerConfig(dim=15, num_heads=2))
