"""Tiny speech encoders of transformers with random weights, of each kind that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

CONVOLUTIONS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8, 8, 8, 8, 8, 8),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
CONFORMER: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "subsampling_conv_channels": 8,
}


def extractor(name: str, **settings: Any) -> Any:
    """What makes an encoder's input, if this transformers has it."""
    return getattr(transformers, name)(**settings) if hasattr(transformers, name) else None


# Name -> configuration class, its settings, what makes its input, seconds from a state to the next. The last ones are
# CTC models, of which AutoModel makes the model with its head (Parakeet, Granite, MedASR) or the encoder (omniASR).
ALL_ENCODERS: dict[str, tuple[str, dict[str, Any], Any, float]] = {
    "whisper": (
        "WhisperConfig",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 0,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "max_source_positions": 150,
            "vocab_size": 8,
            "num_mel_bins": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=3),
        0.02,
    ),
    "wav2vec2": (
        "Wav2Vec2Config",
        {**CONVOLUTIONS, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True),
        0.02,
    ),
    "wav2vec2 with group norm": (
        "Wav2Vec2Config",
        CONVOLUTIONS,
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False),
        0.02,
    ),
    "hubert": ("HubertConfig", CONVOLUTIONS, transformers.Wav2Vec2FeatureExtractor(), 0.02),
    "wavlm": ("WavLMConfig", CONVOLUTIONS, transformers.Wav2Vec2FeatureExtractor(), 0.02),
    "w2v-bert": (
        "Wav2Vec2BertConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "feature_projection_input_dim": 160,
            "output_hidden_size": 16,
        },
        transformers.SeamlessM4TFeatureExtractor(),
        0.02,
    ),
    "parakeet": (
        "ParakeetCTCConfig",
        {"vocab_size": 12, "pad_token_id": 11, "encoder_config": {**CONFORMER, "num_mel_bins": 8}},
        extractor("ParakeetFeatureExtractor", feature_size=8),
        0.08,
    ),
    "granite": (
        "GraniteSpeech5CTCConfig",
        {
            "vocab_size": 12,
            "pad_token_id": 0,
            "encoder_config": {
                **{name: CONFORMER[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")},
                "num_hidden_layers": 4,
                "vocab_size": 12,
                "num_mel_bins": 8,
                "context_size": 16,
                "max_position_embeddings": 32,
            },
        },
        extractor("GraniteSpeech5FeatureExtractor", num_mel_bins=8),
        0.08,
    ),
    "omniasr": (
        "OmniASRCTCConfig",
        {"vocab_size": 12, "audio_config": {"model_type": "omniasr_audio", **CONVOLUTIONS}},
        extractor("OmniASRFeatureExtractor"),
        0.02,
    ),
    "medasr": (
        "LasrCTCConfig",
        {"vocab_size": 12, "pad_token_id": 0, "encoder_config": {**CONFORMER, "num_mel_bins": 8}},
        extractor("LasrFeatureExtractor", feature_size=8),
        0.04,
    ),
}
ENCODERS = {name: entry for name, entry in ALL_ENCODERS.items() if hasattr(transformers, entry[0])}


def make_encoder(folder: Path, name: str, kind: Any = transformers.AutoModel, **more: Any) -> Path:
    """Save a tiny encoder with random weights, or, as `kind` says, with what is on top of it."""
    config_class, settings, reader, _ = ENCODERS[name]
    torch.manual_seed(1)
    config = getattr(transformers, config_class)(**{**settings, **more})
    kind.from_config(config).save_pretrained(folder)
    reader.save_pretrained(folder)
    return folder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """A waveform of noise at 16 kHz."""
    return np.random.default_rng(seed).standard_normal(round(seconds * 16000)).astype(np.float32) * 0.1
