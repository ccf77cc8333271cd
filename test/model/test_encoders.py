"""The registry of encoders: what data stages count of a record is what its module gives; one from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from speechllama.feature_shape import FeatureShape
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio import SpeechEncoder
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.encoders import ENCODERS, Encoder, choose_encoder
from speechllama.model.speech_llama import SpeechLlama
from test.model.conftest import NUM_FEATURES, SIZES, compressor, make_batch
from test.toys import STACK


@pytest.mark.parametrize(("shift", "expected"), [(0.005, 0.02), (0.01, 0.04), (0.02, 0.04), (0.04, 0.04), (0.08, 0.08)])
def test_the_records_count_of_frames_is_that_of_the_module(shift: float, expected: float) -> None:
    record = ENCODERS["transformer"]
    conf = {"conv_channels": 2, "transformer": {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8}}
    encoder = choose_encoder({"encoder_conf": conf}, "e0.yaml").build(5, FeatureShape(NUM_FEATURES, shift)).eval()
    assert isinstance(encoder, SpeechEncoder)
    assert (encoder.dim, encoder.frame_shift) == (8, pytest.approx(expected))
    lengths = torch.tensor([61, 4, 7])
    encoded = encoder(torch.randn(3, 61, NUM_FEATURES), lengths)
    assert encoded.lengths.tolist() == [record.num_frames(int(length), shift) for length in lengths]


@pytest.mark.parametrize("freeze", [True, False])
def test_an_encoder_from_outside_needs_one_record(add: Callable[..., Encoder], tiny_llm: Path, freeze: bool) -> None:
    add(ENCODERS, STACK)
    choice = choose_encoder({"encoder": "stack", "encoder_conf": {"num_stacked": 3}}, "e0.yaml")
    shortened = compressor("frame_average" if freeze else "convolution")
    llm = LLMConfig(str(tiny_llm))
    config = SpeechLlamaConfig(freeze, choice, shortened, audio_encoder=SIZES, llm=llm)
    network = SpeechLlama(config, choice.build(6, FeatureShape(NUM_FEATURES)), LLM(llm))
    loss = network(*make_batch()).loss
    loss.backward()
    assert loss.isfinite()
    weight = network.encoder.get_parameter("linear.weight")
    assert (weight.grad is None) == freeze


def test_an_unknown_encoder_and_an_unknown_setting_are_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown encoder 'transfromer', expected one of .*; did you mean 'transformer"
    ):
        choose_encoder({"encoder": "transfromer"}, "e0.yaml")
    with pytest.raises(ValueError, match="e0.yaml: encoder_conf: unknown key 'num_mels'"):
        choose_encoder({"encoder_conf": {"num_mels": 80}}, "e0.yaml")


def test_a_module_that_is_no_encoder_is_refused(tiny_llm: Path) -> None:
    llm = LLMConfig(str(tiny_llm))
    with pytest.raises(TypeError, match="Linear is no encoder: it needs dim and frame_shift"):
        SpeechLlama(SpeechLlamaConfig(llm=llm), nn.Linear(2, 3), LLM(llm))
