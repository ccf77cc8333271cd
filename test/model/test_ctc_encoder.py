"""CTC encoder: paper's size, padding, loss and greedy path against plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from speechllama.model.ctc_encoder import (
    Conv2dSubsampling,
    CTCEncoder,
    CTCEncoderConfig,
    Encoded,
    best_units,
    ctc_loss,
    greedy_units,
    num_encoder_frames,
)
from speechllama.model.layers import TransformerConfig

SMALL = CTCEncoderConfig(conv_channels=4, transformer=TransformerConfig(2, 16, 2, 32, 0.0))


def test_the_default_encoder_has_the_papers_size() -> None:
    with torch.device("meta"):
        encoder = CTCEncoder(CTCEncoderConfig(), num_units=0)
    # arXiv 2307.03917: 15.8 M without the CTC head
    assert sum(parameter.numel() for parameter in encoder.parameters()) == pytest.approx(15.8e6, rel=0.005)


def test_subsampling_is_a_convolution_written_out() -> None:
    torch.manual_seed(0)
    module = Conv2dSubsampling(feature_dim=5, channels=2, dim=3)
    speech = torch.randn(1, 6, 5)

    def convolve(image: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:
        channels, rows, columns = image.shape
        out = torch.zeros(conv.out_channels, (rows + 1) // 2, (columns + 1) // 2)
        for target, row, column in itertools.product(*(range(size) for size in out.shape)):
            total = conv.bias[target].clone()  # type: ignore[index]
            for source, i, j in itertools.product(range(channels), range(3), range(3)):
                y, x = 2 * row + i - 1, 2 * column + j - 1
                if 0 <= y < rows and 0 <= x < columns:
                    total += conv.weight[target, source, i, j] * image[source, y, x]
            out[target, row, column] = max(total, torch.tensor(0.0))
        return out

    with torch.no_grad():
        hidden = convolve(convolve(speech, module.conv1), module.conv2)  # (2, 2, 2)
        expected = torch.stack([module.linear(hidden[:, frame].flatten()) for frame in range(hidden.shape[1])])
        vectors, lengths = module(speech, torch.tensor([6]))
    assert lengths.tolist() == [2]
    torch.testing.assert_close(vectors[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (2, 1), (4, 1), (5, 2), (8, 2), (9, 3), (100, 25)])
def test_the_length_rounds_up_twice_as_the_data_stages_count_it(frames: int, expected: int) -> None:
    _, lengths = Conv2dSubsampling(8, 1, 2)(torch.zeros(1, frames, 8), torch.tensor([frames]))
    assert lengths.item() == num_encoder_frames(frames) == expected


def test_padding_never_changes_an_utterance() -> None:
    torch.manual_seed(0)
    encoder = CTCEncoder(SMALL, 7, feature_dim=10).eval()
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
        CTCEncoder(SMALL, 5, feature_dim=10).set_normalization(torch.zeros(80), torch.ones(80))
