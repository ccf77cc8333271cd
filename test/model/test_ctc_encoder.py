"""CTC encoder: paper's size, padding, loss and greedy path against plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from speechllama.feature_shape import FeatureShape
from speechllama.model.ctc_encoder import (
    CTCEncoder,
    CTCEncoderConfig,
    Encoded,
    best_units,
    ctc_loss,
    greedy_units,
)
from speechllama.model.layers import TransformerConfig

SMALL = CTCEncoderConfig(conv_channels=4, transformer=TransformerConfig(2, 16, 2, 32, 0.0))


def test_the_default_encoder_has_the_papers_size() -> None:
    with torch.device("meta"):
        encoder = CTCEncoder(CTCEncoderConfig(), num_units=0)
    # arXiv 2307.03917: 15.8 M without the CTC head
    assert sum(parameter.numel() for parameter in encoder.parameters()) == pytest.approx(15.8e6, rel=0.005)


SHAPES = {"log-mel": FeatureShape(10), "states": FeatureShape(10, 0.02), "layers of states": FeatureShape(10, 0.02, 2)}


@pytest.mark.parametrize("features", SHAPES.values(), ids=SHAPES)
def test_padding_never_changes_an_utterance(features: FeatureShape) -> None:
    torch.manual_seed(0)
    encoder = CTCEncoder(SMALL, 7, features).eval()
    encoder.set_normalization(torch.randn(10), torch.rand(10) + 0.5)
    lengths = torch.tensor([9, 30, 17, 1])
    speech = torch.randn(4, 33, 10) * 5  # also the padding holds noise
    batched = encoder(speech, lengths)
    for row, length in enumerate(lengths.tolist()):
        single = encoder(speech[row : row + 1, :length], lengths[row : row + 1])
        frames = int(single.lengths)
        assert frames == int(batched.lengths[row])
        torch.testing.assert_close(batched.logits[row, :frames], single.logits[0], atol=1e-4, rtol=1e-4)


def test_loss_is_the_sum_over_all_alignments() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3)
    text = torch.tensor([[1, 2]])
    probabilities = logits[0].softmax(-1)
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        merged = [unit for unit, _ in itertools.groupby(path)]
        if [unit for unit in merged if unit] == [1, 2]:
            total += math.prod(probabilities[frame, unit].item() for frame, unit in enumerate(path))
    encoded = Encoded(logits, logits, torch.tensor([4]))
    assert ctc_loss(encoded, text, torch.tensor([2])).item() == pytest.approx(-math.log(total), abs=1e-5)


def test_labels_that_do_not_fit_cost_nothing_and_break_nothing() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = ctc_loss(Encoded(logits, logits, torch.tensor([2])), torch.tensor([[1, 1, 2]]), torch.tensor([3]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


def test_greedy_merges_repeats_and_removes_blanks_within_the_length() -> None:
    best = torch.tensor([[0, 2, 2, 0, 2, 1, 1], [1, 0, 0, 3, 3, 3, 2]])
    logits = torch.nn.functional.one_hot(best, 4).float()
    assert greedy_units(Encoded(logits, logits, torch.tensor([7, 5]))) == [[2, 2, 1], [1, 3]]


@pytest.mark.parametrize("num_units", [1, 5, 127, 128, 130, 640, 1001])
def test_best_units_are_the_argmax_also_among_equals(num_units: int) -> None:
    torch.manual_seed(0)
    logits = torch.randint(0, max(2, num_units // 3), (3, 50, num_units)).float()
    for frame in logits.flatten(0, 1)[:20]:
        frame[torch.randint(0, num_units, (1,))] = 1e4
    expected = [[row.tolist().index(max(row.tolist())) for row in utterance] for utterance in logits]
    assert best_units(logits).tolist() == expected


def test_statistics_of_other_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the statistics are of \(80,\) features, the network expects \(10,\)"):
        CTCEncoder(SMALL, 5, FeatureShape(10)).set_normalization(torch.zeros(80), torch.ones(80))
