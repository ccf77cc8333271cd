"""Transformer stack: padding changes nothing, positions are those of the formula."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechllama.model.layers import REACH, TransformerConfig, TransformerStack, length_mask, sinusoidal_positions

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
        single = stack(hidden[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(batched[row, :length], single[0], atol=1e-5, rtol=1e-5)
        assert not batched[row, length:].any()


@pytest.mark.parametrize("width", [1, 2, REACH + 3, 2 * REACH + 40])
def test_the_bias_is_that_of_each_distance(width: int) -> None:
    stack = TransformerStack(CONFIG)
    with torch.no_grad():
        stack.distance_bias.normal_()
    place = torch.arange(width)
    distance = (place[None, :] - place[:, None]).clamp(-REACH, REACH) + REACH  # of all pairs, which takes M x M numbers
    expected, found = stack.distance_bias[:, distance], stack._bias(width)
    assert torch.equal(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((bias * weights).sum(), stack.distance_bias)[0] for bias in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


class LargestIndices(TorchDispatchMode):
    """Notes the largest tensor of whole numbers that is made."""

    num_entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.int64:
            self.num_entries = max(self.num_entries, result.untyped_storage().nbytes() // 8)
        return result


def test_no_table_of_all_distances_is_made() -> None:
    """It took 8 bytes for each pair of frames: 64.8 GB for an hour of speech."""
    stack = TransformerStack(CONFIG)
    with LargestIndices() as largest, torch.no_grad():
        assert stack._bias(3000).shape == (2, 3000, 3000)
    assert largest.num_entries == 2 * 3000 - 1


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="dim 15 must be even and a multiple of num_heads 2"):
        TransformerStack(TransformerConfig(dim=15, num_heads=2))


def test_the_stack_equals_attention_written_out() -> None:
    torch.manual_seed(0)
    stack, hidden, lengths = TransformerStack(CONFIG).eval(), torch.randn(2, 9, 16), torch.tensor([9, 5])
    with torch.no_grad():
        stack.distance_bias.add_(torch.randn_like(stack.distance_bias) * 0.3)  # as training leaves it: no symmetry
        found = stack(hidden, lengths)
        for row, length in enumerate(lengths.tolist()):
            state = hidden[row, :length] * 4 + sinusoidal_positions(length, 16, hidden.device)  # 4 = sqrt(16)
            layer: Any
            for layer in stack.layers:
                query, key, value = layer.qkv(layer.attention_norm(state)).chunk(3, -1)
                seen = torch.zeros(length, 16)
                for head, frame in itertools.product(range(2), range(length)):
                    part = slice(head * 8, head * 8 + 8)
                    scores = [
                        query[frame, part] @ key[other, part] / math.sqrt(8)
                        + stack.distance_bias[head, other - frame + REACH]
                        for other in range(length)
                    ]
                    seen[frame, part] = torch.stack(scores).softmax(0) @ value[:, part]
                state = state + layer.output(seen)
                state = state + layer.ffn(layer.ffn_norm(state))
            torch.testing.assert_close(found[row, :length], stack.norm(state), atol=1e-5, rtol=1e-5)


def test_layers_start_from_weights_of_their_own() -> None:
    first: Any
    second: Any
    first, second = TransformerStack(CONFIG).layers
    assert not torch.equal(first.qkv.weight, second.qkv.weight)


def test_half_of_the_heads_start_looking_at_neighbours() -> None:
    bias = TransformerStack(TransformerConfig(num_heads=4, dim=16)).distance_bias
    assert bias[:, REACH].tolist() == [0.0] * 4
    assert bias[:, REACH + 8].tolist() == pytest.approx([-4.0, -1.0, -0.25, -0.0625])
