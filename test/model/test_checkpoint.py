"""A checkpoint holds what trains and fits only its own base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.hub import fingerprint
from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.model.build import base_fingerprint, digest_tensors
from speechllama.model.checkpoint import FINGERPRINT, keep_only_trainable
from speechllama.model.speech_llama import SpeechLlama
from test.model.conftest import build, compressor, make_batch


@pytest.mark.parametrize("train", ["frozen", "lora", "full"])
def test_a_checkpoint_holds_what_trains_and_restores_it(tiny_llm: Path, train: Any) -> None:
    def fresh() -> SpeechLlama:
        network = build(tiny_llm, llm=LLMConfig(str(tiny_llm), train=train, lora=LoRAConfig(rank=2)))
        keep_only_trainable(network, b"base")
        return network

    trained = fresh()
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    state = trained.state_dict()
    assert set(state) == {name for name, p in trained.named_parameters() if p.requires_grad} | {FINGERPRINT}
    restored = fresh()
    restored.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    batch = make_batch()
    assert restored(*batch).loss.item() == trained(*batch).loss.item()


def test_a_checkpoint_holds_what_an_earlier_experiment_trained(tiny_llm: Path) -> None:
    network = build(tiny_llm, llm=LLMConfig(str(tiny_llm), train="lora"), train_audio_encoder=False)
    keep_only_trainable(network, b"base", also=("audio_encoder",))
    assert {name.split(".")[0] for name in network.state_dict()} == {"audio_encoder", "llm", FINGERPRINT}
    assert all("lora_" in name for name in network.state_dict() if name.startswith("llm."))


def test_a_checkpoint_holds_what_the_host_freezes_later(tiny_llm: Path) -> None:
    network = build(tiny_llm)
    keep_only_trainable(network, b"base")
    whole = set(network.state_dict())
    network.audio_encoder.requires_grad_(False)  # --freeze_param
    assert set(network.state_dict()) == whole


def test_a_checkpoint_of_another_base_is_refused(tiny_llm: Path) -> None:
    one, other = build(tiny_llm), build(tiny_llm)
    keep_only_trainable(one, b"this LLM")
    keep_only_trainable(other, b"that LLM")
    with pytest.raises(ValueError, match="trained on another base model"):
        other.load_state_dict(one.state_dict())


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tiny_llm: Path) -> None:
    network = build(tiny_llm)
    keep_only_trainable(network, b"base")
    state = network.state_dict()
    state.pop("audio_encoder.norm.weight")
    with pytest.raises(ValueError, match=r"1 tensors missing \['audio_encoder.norm.weight'\]"):
        network.load_state_dict(state)


def test_averaging_keeps_the_fingerprint(tiny_llm: Path) -> None:
    network = build(tiny_llm)
    keep_only_trainable(network, bytes(range(256)))
    own = network.state_dict()[FINGERPRINT]
    assert torch.equal((own + own + own) / 3, own)


def test_the_fingerprint_is_of_the_llm_and_of_what_else_never_trains(tiny_llm: Path) -> None:
    llm = fingerprint(str(tiny_llm))
    frozen = build(tiny_llm)
    assert base_fingerprint(frozen) == llm + digest_tensors(frozen.encoder.state_dict())
    units = build(tiny_llm, compressor=compressor("units", num_clusters=9))
    centroids = {"codebook.centroids": units.compressor.get_buffer("codebook.centroids")}
    assert base_fingerprint(units) == llm + digest_tensors({**units.encoder.state_dict(), **centroids})
    trained = build(tiny_llm, freeze_encoder=False, compressor=compressor("convolution"))
    statistics = {name: trained.encoder.get_buffer(name) for name in ("mean", "std")}
    assert base_fingerprint(trained) == llm + digest_tensors(statistics)
