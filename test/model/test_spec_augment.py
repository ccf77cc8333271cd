"""SpecAugment: masks where it may, nothing in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from speechllama.model.spec_augment import SpecAugment, SpecAugmentConfig


def test_evaluation_changes_nothing() -> None:
    speech = torch.randn(2, 30, 8)
    module = SpecAugment(SpecAugmentConfig()).eval()
    assert torch.equal(module(speech, torch.tensor([30, 20])), speech)


def test_masks_are_whole_bands_and_spans_of_limited_width() -> None:
    torch.manual_seed(0)
    config = SpecAugmentConfig(num_freq_masks=1, freq_width=3, num_time_masks=1, time_ratio=0.2)
    module = SpecAugment(config).train()
    lengths = torch.tensor([40, 20])
    for _ in range(50):
        masked = module(torch.ones(2, 40, 10), lengths) == 0
        for row, length in enumerate(lengths.tolist()):
            bins = masked[row].all(0)
            frames = masked[row].all(1)
            assert bins.sum() <= 3
            assert frames.sum() <= 0.2 * length
            assert not frames[length:].any()
            assert torch.equal(masked[row], bins[None, :] | frames[:, None])


def test_utterances_get_masks_of_their_own() -> None:
    torch.manual_seed(0)
    masked = SpecAugment(SpecAugmentConfig()).train()(torch.ones(8, 200, 80), torch.full((8,), 200)) == 0
    assert len({tuple(row.flatten().tolist()) for row in masked}) == 8


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_time_masks": 2147483648}, "num_time_masks is 2147483648, expected 0 to 1000"),
        ({"num_freq_masks": -1}, "num_freq_masks is -1, expected 0 to 1000"),
        ({"time_ratio": 1.5}, "freq_width 27 and time_ratio 1.5: expected bins and 0 to 1"),
    ],
)
def test_masks_that_would_take_for_ever_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpecAugmentConfig(**setting)
