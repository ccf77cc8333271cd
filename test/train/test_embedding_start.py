"""The start of an audio encoder at the LLM's embeddings: the distance against a loop, and trainings that begin so."""

from __future__ import annotations

import logging
import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from speechllama.decode.experiment import load_experiment
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.layers import TransformerConfig
from speechllama.train import embedding_start
from speechllama.train.embedding_start import distance_to, embed_best, learn, read_vectors, start_at_embeddings

SIZES = TransformerConfig(num_layers=1, dim=8, num_heads=2, ffn_dim=16, dropout=0.0)


@pytest.fixture(autouse=True)
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_start, "NUM_UPDATES", 30)


@pytest.fixture
def utterances() -> list[Tensor]:
    """40 utterances of vectors (U, 8)."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(5 + index % 4, 8, generator=generator) for index in range(40)]


@pytest.fixture
def encoder() -> AudioEncoder:
    torch.manual_seed(2)
    return AudioEncoder(SIZES, 8, 6, 0.1)


def embed(vectors: Tensor) -> Tensor:
    """Something that can be learned: the best of six units, each with an embedding of its own."""
    table = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    return (4 * vectors[..., :6]).softmax(-1) @ table


def test_the_distance_is_that_of_a_loop_over_vectors(utterances: list[Tensor], encoder: AudioEncoder) -> None:
    encoder.eval()
    squares = []
    for vectors in utterances[:5]:
        output = encoder(vectors[None], torch.tensor([len(vectors)]))[0]
        for one, other in zip(output, embed(vectors), strict=True):
            pair = [(each - each.mean()) / each.std(unbiased=False) for each in (one, other)]
            squares += (pair[0] - pair[1]).square().tolist()
    expected = sum(squares) / len(squares)
    assert float(distance_to(embed, encoder, utterances[:5]).detach()) == pytest.approx(expected, rel=1e-3)


def test_what_can_be_learned_is_learned(
    utterances: list[Tensor], encoder: AudioEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_start, "NUM_UPDATES", 600)
    monkeypatch.setattr(embedding_start, "LEARNING_RATE", 1e-2)
    before = float(distance_to(embed, encoder, utterances).detach())
    after = learn(encoder, embed, utterances, random.Random(1))
    assert before > 1.0 and after < 0.2


def test_units_are_embedded_by_their_posteriors_and_blank_as_the_mean_of_all() -> None:
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, 4.0]])
    logits = torch.tensor([[9.0, 1.0, 1.0, 1.0], [0.0, 2.0, 1.0, 0.5]])
    posteriors = [math.exp(each) for each in (2.0, 1.0, 0.5)]
    expected = [
        sum(share * row[column] for share, row in zip(posteriors, table[1:].tolist(), strict=True)) / sum(posteriors)
        for column in (0, 1)
    ]
    blank, unit = embed_best(logits[None], table)[0]
    assert blank.tolist() == [2.0, 3.0] and unit.tolist() == pytest.approx(expected)


def test_only_the_audio_encoder_learns_and_the_generators_stay(recipe: Any) -> None:
    starts = []
    for _ in range(2):
        network: Any = load_experiment(recipe.root / "e5").network.eval()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        table = torch.randn(
            network.encoder.head.out_features, network.llm.dim, generator=torch.Generator().manual_seed(1)
        )
        state = torch.get_rng_state()
        data = [(str(recipe.root / "train/compressed/compressed.scp"), "compressed", "kaldi_ark")]
        start_at_embeddings(network, table, data, seed=4)
        assert torch.equal(state, torch.get_rng_state()) and not network.audio_encoder.training
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed and all(name.startswith("audio_encoder.") for name in changed)
        assert all(parameter.grad is None for parameter in network.parameters())
        starts.append({name: network.state_dict()[name] for name in changed})
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_features_and_the_cache_hold_the_same_vectors(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_experiment(recipe.root / "e5").network.eval()
    cached, computed = (
        read_vectors(network, [(str(recipe.root / f"train/{place}.scp"), name, "kaldi_ark")])
        for place, name in (("compressed/compressed", "compressed"), ("dump/feats", "speech"))
    )
    assert len(cached) == 12
    for one, other in zip(cached, computed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    monkeypatch.setattr(embedding_start, "MAX_VECTORS", len(cached[0]) + 1)
    few = read_vectors(network, [(str(recipe.root / "train/compressed/compressed.scp"), "compressed", "kaldi_ark")])
    assert len(few) == 2 and torch.equal(few[0], cached[0])


def test_a_training_starts_there_and_one_that_resumes_does_not(recipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    said = "the audio encoder starts at the LLM's embeddings: "
    with caplog.at_level(logging.INFO):
        experiment = recipe.train_llm("near", "--max_epoch", "1", audio_encoder_start="embeddings")
        assert said in caplog.text
        caplog.clear()
        recipe.train_llm("near", "--max_epoch", "2", audio_encoder_start="embeddings")
        recipe.average("near")
        assert load_experiment(experiment).settings["audio_encoder_start"] == "embeddings"
        settings = {"llm_conf": recipe.lora, "audio_encoder_start": "embeddings"}
        recipe.train_llm("near_lora", "--init_from", str(experiment), **settings)
    assert said not in caplog.text and f"started from {experiment}" in caplog.text


def test_an_audio_encoder_that_reads_something_else_starts_at_random(
    recipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = {"conv_channels": 2, "transformer": recipe.sizes, "spec_augment": recipe.masks}
    settings: dict[str, Any] = {"compressor": "convolution", "freeze_encoder": False, "encoder_conf": encoder}
    with caplog.at_level(logging.INFO):
        recipe.train_llm("near_e0", source="dump", audio_encoder_start="embeddings", batch_bins=60, **settings)
    assert "audio_encoder_start: embeddings needs vectors of a frozen CTC encoder" in caplog.text


def test_an_unknown_start_is_refused(recipe: Any) -> None:
    with pytest.raises(ValueError, match="audio_encoder_start: 'words', expected random or embeddings"):
        recipe.train_llm("near_words", audio_encoder_start="words")
