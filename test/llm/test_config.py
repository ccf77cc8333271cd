"""Settings of the LLM: the paper's adapters, and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.llm.config import LLMConfig, LoRAConfig


def test_the_papers_lora_has_2_1_million_parameters() -> None:
    # LLaMA-7B: 32 layers of width 4096; rank 2 on four square projections
    assert 32 * 4 * LoRAConfig().rank * (4096 + 4096) == pytest.approx(2.1e6, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "lorra"}, "unknown llm train 'lorra', expected one of"),
        ({"dtype": "bf16"}, "llm dtype 'bf16' is neither auto nor"),
        ({"random_weights": True, "train": "lora"}, "random_weights needs train: full, found lora"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LLMConfig("x", **arguments)
