"""A pre-trained encoder's own CTC head as an encoder: states as they are, logits of a linear layer, nothing trains."""

from __future__ import annotations

import pytest
import torch

from speechllama.feature_shape import FeatureShape
from speechllama.model.compressor import build_compressor
from speechllama.model.ctc_encoder import greedy_units
from speechllama.model.encoders import choose_encoder
from speechllama.model.own_head import OwnHead

CHOICE = choose_encoder({"encoder": "own_head"}, "config.yaml")


def build() -> OwnHead:
    torch.manual_seed(1)
    encoder: OwnHead = CHOICE.build(7, FeatureShape(16, 0.02))
    return encoder


def test_states_stay_and_logits_are_those_of_the_head() -> None:
    encoder, states = build(), torch.randn(2, 9, 16)
    encoder.set_normalization(torch.ones(16), torch.full((16,), 3.0))  # is not read
    encoded = encoder(states, torch.tensor([9, 5]))
    assert (encoder.dim, encoder.frame_shift) == (16, 0.02)
    assert encoded.hidden is states and encoded.lengths.tolist() == [9, 5]
    expected = states @ encoder.head.weight.T + encoder.head.bias
    torch.testing.assert_close(encoded.logits, expected)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert CHOICE.record.num_frames(9, 0.02) == 9


@pytest.mark.parametrize("compressor", ["blank_removal", "frame_average", "posteriors", "none"])
def test_padding_never_changes_an_utterance(compressor: str) -> None:
    encoder, states = build(), torch.randn(2, 9, 16)
    compress = build_compressor(compressor, {}, 16)
    together = encoder(states, torch.tensor([9, 5]))
    alone = encoder(states[1:, :5], torch.tensor([5]))
    assert greedy_units(together)[1] == greedy_units(alone)[0]
    batch, single = compress(together), compress(alone)
    length = int(single.lengths[0])
    assert int(batch.lengths[1]) == length
    torch.testing.assert_close(batch.vectors[1, :length], single.vectors[0])


def test_an_encoder_without_a_head_or_of_several_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="own_head has nothing to train: it is for freeze_encoder: true"):
        CHOICE.build(0, FeatureShape(16, 0.02))
    with pytest.raises(ValueError, match="the features are 2 layers, but a CTC head reads the last states only"):
        CHOICE.build(7, FeatureShape(32, 0.02, 2))
    with pytest.raises(ValueError, match="encoder_conf: unknown key 'dim'; there are no settings here"):
        choose_encoder({"encoder": "own_head", "encoder_conf": {"dim": 3}}, "config.yaml")
