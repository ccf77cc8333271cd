"""YAML values become dataclasses, and what is misspelt is refused."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.config import from_mapping
from speechllama.model.config import SpeechLlamaConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"prefix_mask": "noncausal"},
            "e5.yaml: prefix_mask: unknown value 'noncausal', expected one of causal, non_causal",
        ),
        ({"compresor": {}}, "e5.yaml: unknown key 'compresor'; did you mean 'compressor'"),
        ({"llm": {"lora": {"rank": "two"}}}, "e5.yaml: llm: lora: rank: expected int, found 'two'"),
        ({"label_smoothing": "1e-1"}, "label_smoothing: expected float, found '1e-1'"),
        ({"train_audio_encoder": 1}, "train_audio_encoder: expected bool, found 1"),
        (
            {"llm": {"lora": {"targets": "q_proj"}}},
            "lora: unknown lora targets 'q_proj', expected all-linear or a",
        ),
    ],
)
def test_misspelt_settings_are_refused_with_their_place(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(SpeechLlamaConfig, settings, "e5.yaml")
