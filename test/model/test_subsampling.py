"""Subsampling of log-mel features and of the states of other encoders, against plain loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from speechllama.feature_shape import FeatureShape, frames_to_stack, num_encoder_frames
from speechllama.model.spec_augment import SpecAugmentConfig
from speechllama.model.subsampling import Conv2dSubsampling, FrameStacking, SpeechFront

NO_MASKS = SpecAugmentConfig(0, 0, 0, 0.0)


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


@pytest.mark.parametrize(
    ("shift", "stacked"),
    [(0.005, 0), (0.010, 0), (0.0125, 3), (0.020, 2), (0.030, 1), (0.040, 1), (0.080, 1)],
)
def test_states_of_other_encoders_are_stacked_to_40_ms_at_most(shift: float, stacked: int) -> None:
    assert frames_to_stack(shift) == stacked
    front = SpeechFront(FeatureShape(6, shift), 2, 4, NO_MASKS)
    kind = FrameStacking if stacked else Conv2dSubsampling
    assert isinstance(front.subsampling, kind)
    assert front.frame_shift == pytest.approx((stacked or 4) * shift)
    for frames in range(1, 14):
        _, lengths = front.subsample(torch.zeros(1, frames, 6), torch.tensor([frames]))
        assert lengths.item() == num_encoder_frames(frames, shift)


def test_stacking_is_a_linear_layer_over_neighbours() -> None:
    torch.manual_seed(0)
    module = FrameStacking(feature_dim=3, num_frames=2, dim=4)
    speech = torch.randn(1, 5, 3)
    vectors, lengths = module(speech, torch.tensor([5]))
    assert lengths.tolist() == [3]
    frames = [*speech[0], torch.zeros(3)]
    for index in range(3):
        expected = module.linear(torch.cat(frames[2 * index : 2 * index + 2]))
        torch.testing.assert_close(vectors[0, index], expected)


def test_layers_are_summed_with_weights_that_train_and_start_equal() -> None:
    torch.manual_seed(0)
    front = SpeechFront(FeatureShape(6, 0.04, num_layers=3), 2, 4, NO_MASKS)
    speech, lengths = torch.randn(2, 5, 6), torch.tensor([5, 5])
    hidden, _ = front.subsample(speech, lengths)
    mean = sum(speech[:, :, 2 * layer : 2 * layer + 2] for layer in range(3)) / 3
    torch.testing.assert_close(hidden, front.subsampling.linear(mean))
    hidden.square().sum().backward()
    assert front.layer_weights.grad is not None and front.layer_weights.grad.abs().min() > 0
    with torch.no_grad():
        front.layer_weights.copy_(torch.tensor([0.0, 50.0, 0.0]))
    torch.testing.assert_close(front.subsample(speech, lengths)[0], front.subsampling.linear(speech[:, :, 2:4]))
