"""The start of an audio encoder at the LLM's embeddings: the regression against numpy's, and a training with it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechllama.decode.experiment import load_experiment
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.layers import TransformerConfig
from speechllama.train.embedding_start import RIDGE, fill_with_mean, fit_projection, start_at_embeddings

SIZES = TransformerConfig(num_layers=1, dim=8, num_heads=2, ffn_dim=16, dropout=0.0)


@pytest.fixture
def pairs() -> list[tuple[Tensor, Tensor]]:
    """Vectors (U, 8) and targets (U, 6) of 40 utterances."""
    generator = torch.Generator().manual_seed(3)
    draw = [torch.randn(5 + index % 4, 14, generator=generator) for index in range(40)]
    return [(both[:, :8], both[:, 8:] + 2.0) for both in draw]


def hidden_of(encoder: AudioEncoder, vectors: Tensor) -> np.ndarray:
    with torch.no_grad():
        hidden = encoder.transformer(encoder.input(vectors[None]), torch.tensor([len(vectors)]))[0]
    return hidden.double().numpy()  # type: ignore[no-any-return]


def test_the_projection_is_that_of_a_ridge_regression(pairs: list[tuple[Tensor, Tensor]]) -> None:
    encoder = AudioEncoder(SIZES, 8, 6, 0.1).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with torch.no_grad():
        fit = fit_projection(encoder, iter(pairs))
    hidden = np.concatenate([hidden_of(encoder, vectors) for vectors, _ in pairs])
    targets = torch.cat([each for _, each in pairs]).double().numpy()
    # As least squares: each hidden number has one more row, which pulls its weights towards 0.
    decay = np.sqrt(RIDGE * np.square(hidden).sum(0).mean())
    rows = np.block([[hidden, np.ones((len(hidden), 1))], [decay * np.eye(8), np.zeros((8, 1))]])
    solution = np.linalg.lstsq(rows, np.concatenate([targets, np.zeros((8, 6))]), rcond=None)[0]
    np.testing.assert_allclose(encoder.projection.weight.detach().numpy(), solution[:-1].T, atol=1e-5)
    np.testing.assert_allclose(encoder.projection.bias.detach().numpy(), solution[-1], atol=1e-5)
    residual = np.square(targets - hidden @ solution[:-1] - solution[-1]).sum()
    assert fit.num_vectors == len(targets)
    assert fit.explained == pytest.approx(1 - residual / np.square(targets - targets.mean(0)).sum())
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"projection.weight", "projection.bias"}


def test_targets_that_are_linear_are_found(pairs: list[tuple[Tensor, Tensor]]) -> None:
    encoder = AudioEncoder(SIZES, 8, 6, 0.1).eval()
    matrix = np.random.default_rng(1).normal(size=(8, 6))
    linear = [(each, torch.tensor(hidden_of(encoder, each) @ matrix).float()) for each, _ in pairs]
    with torch.no_grad():
        assert fit_projection(encoder, iter(linear)).explained > 0.999
        vectors, targets = linear[0]
        output = encoder(vectors[None], torch.tensor([len(vectors)]))[0]
    assert torch.nn.functional.cosine_similarity(output, targets - targets.mean(1, keepdim=True)).min() > 0.99


def test_units_without_a_text_are_embedded_as_the_mean_of_the_others() -> None:
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, 4.0]])
    assert fill_with_mean(table).tolist() == [[2.0, 3.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]


def test_a_training_starts_there(recipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        experiment = recipe.train_llm("near", audio_encoder_start="embeddings")
    assert "the audio encoder starts at the LLM's embeddings: " in caplog.text
    recipe.average("near")
    assert load_experiment(experiment).settings["audio_encoder_start"] == "embeddings"
    caplog.clear()
    start = ["--init_from", str(experiment)]
    with caplog.at_level(logging.INFO):
        recipe.train_llm("near_lora", *start, llm_conf=recipe.lora, audio_encoder_start="embeddings")
    assert "starts at the LLM's embeddings" not in caplog.text and f"started from {experiment}" in caplog.text


def test_features_and_the_cache_give_the_same_start(recipe: Any) -> None:
    network = load_experiment(recipe.root / "e5").network
    table = torch.randn(network.encoder.head.out_features, network.llm.dim, generator=torch.Generator().manual_seed(1))
    found = []
    for folder, name in (("compressed", "compressed"), ("dump", "feats")):
        what = "speech" if name == "feats" else name
        start_at_embeddings(network, table, [(str(recipe.root / f"train/{folder}/{name}.scp"), what, "kaldi_ark")])
        found.append(network.audio_encoder.projection.weight.detach().clone())
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)


def test_an_audio_encoder_that_reads_something_else_starts_at_random(
    recipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = {"conv_channels": 2, "transformer": recipe.sizes, "spec_augment": recipe.masks}
    settings: dict[str, Any] = {"compressor": "convolution", "freeze_encoder": False, "encoder_conf": encoder}
    with caplog.at_level(logging.INFO):
        recipe.train_llm("near_e0", source="dump", audio_encoder_start="embeddings", batch_bins=60, **settings)
    assert "audio_encoder_start: embeddings needs vectors of a frozen CTC encoder" in caplog.text
