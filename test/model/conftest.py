"""What several tests of the model share: an LLM with another config, a small network and a batch for it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from speechllama.feature_shape import FeatureShape
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio import Features
from speechllama.model.compressor import UnitCompressor
from speechllama.model.compressors import COMPRESSORS, Compressor
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.ctc_encoder import CTCEncoderConfig
from speechllama.model.encoders import DEFAULT_ENCODER, ENCODERS, Encoder
from speechllama.model.layers import TransformerConfig
from speechllama.model.posteriors import PosteriorEmbedding
from speechllama.model.spec_augment import SpecAugmentConfig
from speechllama.model.speech_llama import Batch, SpeechLlama
from speechllama.registry import Choice, choose

NUM_FEATURES = 10
SIZES = TransformerConfig(num_layers=1, dim=16, num_heads=2, ffn_dim=32, dropout=0.0)
ENCODER = CTCEncoderConfig(4, SIZES, SpecAugmentConfig(0, 0, 0, 0.0))


def compressor(name: str, **conf: Any) -> Choice[Compressor]:
    """A compressor with settings."""
    return choose(COMPRESSORS, name, conf, "test")


def encoder(settings: CTCEncoderConfig) -> Choice[Encoder]:
    """The package's encoder with settings."""
    return Choice(ENCODERS[DEFAULT_ENCODER], settings)


def build(tiny_llm: Path, **changes: Any) -> SpeechLlama:
    """A network of a few thousand parameters; `changes` are settings of SpeechLlamaConfig."""
    torch.manual_seed(1)
    config = SpeechLlamaConfig(encoder=encoder(ENCODER), audio_encoder=SIZES, llm=LLMConfig(str(tiny_llm)))
    config = dataclasses.replace(config, **changes)
    num_units = 6 if config.freeze_encoder else 0
    module = config.encoder.build(num_units, FeatureShape(NUM_FEATURES))
    network = SpeechLlama(config, module, LLM(config.llm), num_units).eval()
    if isinstance(network.compressor, UnitCompressor):
        codebook = network.compressor.codebook
        codebook.set_centroids(torch.randn(codebook.centroids.shape))
    if isinstance(network.audio_encoder, PosteriorEmbedding):
        network.audio_encoder.set_table([[], [20], [21, 22], [23], [], [24]], network.llm)
    return network


def make_batch() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Three utterances of different length everywhere; padding holds noise."""
    generator = torch.Generator().manual_seed(2)
    speech = torch.randn(3, 50, NUM_FEATURES, generator=generator)
    prompt = torch.tensor([[1, 20, 21], [1, 22, -1], [1, 20, 21]])
    suffix = torch.tensor([[30], [31], [-1]])
    features = Features(speech, torch.tensor([50, 23, 37]))
    batch = Batch(features, prompt, torch.tensor([3, 2, 3]), suffix, torch.tensor([1, 1, 0]))
    return batch, torch.tensor([[40, 41, 42], [43, -1, -1], [44, 45, -1]]), torch.tensor([3, 1, 2])


def change_config(source: Path, target: Path, **changes: object) -> str:
    """A copy of an LLM with other values in config.json and generation_config.json; its path."""
    shutil.copytree(source, target)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((target / name).read_text())
        (target / name).write_text(json.dumps({**settings, **changes}))
    return str(target)
