"""The front ends of egs/TEMPLATE: their YAML, and the networks of the paper's size on them, without weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
import yaml

from speechllama.feature_shape import FeatureShape
from speechllama.frontend.front_ends import choose_front_end
from speechllama.llm.adapters import add_lora
from speechllama.model.encoders import choose_encoder
from speechllama.model.meta_model import (
    EncoderShape,
    meta_encoder,
    meta_speech_llama,
    num_parameters,
    read_architecture,
)
from test.recipe_configs import EGS, load

FOLDER = EGS / "TEMPLATE/conf/frontend"
# Name -> configuration of transformers, its settings where they are not the class's defaults, millions of parameters of
# the encoder, width of its states.
PRETRAINED: dict[str, tuple[str, dict[str, Any], float, int]] = {
    "whisper_base": (
        "WhisperConfig",
        {
            "d_model": 512,
            "encoder_layers": 6,
            "encoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "num_mel_bins": 80,
        },
        20.6,
        512,
    ),
    "whisper_large_v3": (
        "WhisperConfig",
        {
            "d_model": 1280,
            "encoder_layers": 32,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "num_mel_bins": 128,
        },
        637.0,
        1280,
    ),
    "w2v_bert_2": ("Wav2Vec2BertConfig", {}, 580.5, 1024),
    "wav2vec2_960h": ("Wav2Vec2Config", {}, 94.4, 768),
}
# Name -> the front end whose encoder it trains, parameters of its adapters: layers, adapters in each, rank, inputs and
# outputs.
TRAINED = {
    "whisper_base_lora": ("whisper_base", 6 * 2 * 8 * (512 + 512)),
    "whisper_large_v3_lora": ("whisper_large_v3", 32 * 2 * 8 * (1280 + 1280)),
    "w2v_bert_2_lora": ("w2v_bert_2", 24 * 2 * 8 * (1024 + 1024)),
}


def meta_speech_encoder(name: str) -> Any:
    """A pre-trained encoder without weights."""
    kind, settings, _, _ = PRETRAINED[name]
    if kind == "WhisperConfig":
        settings = {**settings, "decoder_layers": 0}
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(getattr(transformers, kind)(**settings))
    return model.get_encoder() if model.config.is_encoder_decoder else model


def test_every_front_end_is_known() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(["fbank", *PRETRAINED, *TRAINED])
    for path in FOLDER.glob("*.yaml"):
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        choose_front_end(settings["frontend"], settings.get("frontend_conf") or {})


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_encoders_have_the_sizes_that_their_yaml_names(name: str) -> None:
    _, _, millions, dim = PRETRAINED[name]
    assert num_parameters(meta_speech_encoder(name)) / 1e6 == pytest.approx(millions, abs=0.1)
    header = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    # Whisper's positions are sinusoids, which its authors do not count.
    assert f"{millions:.1f} M" in header or f"{millions:.0f} M" in header or f"{millions + 0.5:.0f} M" in header
    assert f"{dim:,} numbers every 20 ms" in header


@pytest.mark.parametrize("name", TRAINED)
def test_the_adapters_have_the_sizes_that_their_yaml_names(name: str) -> None:
    base, expected = TRAINED[name]
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    settings, frozen = yaml.safe_load(text), yaml.safe_load((FOLDER / f"{base}.yaml").read_text(encoding="utf-8"))
    choice = choose_front_end(settings["frontend"], settings["frontend_conf"])
    assert choice.settings.train == "lora" and choice.settings.path == frozen["frontend_conf"]["path"]
    encoder = meta_speech_encoder(base)
    with torch.device("meta"):
        add_lora(encoder, choice.settings.lora)
    assert num_parameters(encoder, trainable_only=True) == expected
    assert f"adapters of {expected / 1e6:.1f} M" in text


@pytest.mark.parametrize("llm", ["llama_3.1_8b", "qwen2.5_7b", "tinyllama_1.1b"])
@pytest.mark.parametrize("name", ["whisper_large_v3", "w2v_bert_2"])
def test_the_papers_systems_are_built_on_a_front_end_and_an_llm_of_today(name: str, llm: str) -> None:
    features = FeatureShape(PRETRAINED[name][3], 0.02)
    ctc = EncoderShape(choose_encoder(load("covost2", "", "ctc").settings, "ctc.yaml"), 1000, features)
    # The paper's encoder without its convolutions: a linear layer over two states in their place.
    log_mel = EncoderShape(ctc.choice, 1000)
    convolutions = 256 * (9 + 1) + 256 * (9 * 256 + 1) + (256 * 20 * 512 + 512)
    expected = num_parameters(meta_encoder(log_mel)) - convolutions + 2 * features.dim * 512 + 512
    assert num_parameters(meta_encoder(ctc)) == expected
    architecture = read_architecture(EGS / f"covost2/conf/llm/{llm}.json")
    frozen, tuned = (
        meta_speech_llama(load("covost2", "", system).settings, f"{system}.yaml", architecture, ctc)
        for system in ("e5", "e6")
    )
    assert frozen.encoder.frame_shift == tuned.encoder.frame_shift == pytest.approx(0.04)
    assert num_parameters(frozen.llm, trainable_only=True) == 0 < num_parameters(tuned.llm, trainable_only=True)
