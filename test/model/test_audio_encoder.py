"""The audio encoder: the paper's size, and the scale of the LLM's embeddings."""

from __future__ import annotations

import pytest
import torch

from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.layers import TransformerConfig
from test.model.conftest import SIZES


def test_the_audio_starts_at_the_scale_of_the_llms_embeddings() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(SIZES, input_dim=7, llm_dim=64, embedding_std=0.02)
    audio = encoder(torch.randn(4, 9, 7), torch.full((4,), 9))
    assert audio.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_papers_audio_encoder_has_14_7_million_parameters() -> None:
    with torch.device("meta"):
        encoder = AudioEncoder(TransformerConfig(), input_dim=512, llm_dim=4096, embedding_std=1.0)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == pytest.approx(14.7e6, rel=0.005)
