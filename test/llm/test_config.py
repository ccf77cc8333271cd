"""Settings of the LLM: the paper's adapters, and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.config import from_mapping
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init_lora_weights": "pisa"}, "unknown lora init_lora_weights 'pisa', expected one of true, gaussian, orth"),
        (
            {"init_lora_weights": False},
            "unknown lora init_lora_weights False, expected one of true, .*N, olora",
        ),
        ({"init_lora_weights": "pissa_niter_0"}, "unknown lora init_lora_weights 'pissa_niter_0', expected one of"),
        ({"init_lora_weights": "eva"}, "unknown lora init_lora_weights 'eva'"),  # needs data, which nobody gives it
        ({"init_lora_weights": "orthogonal", "rank": 3}, "init_lora_weights orthogonal needs an even rank, found 3"),
        ({"targets": "q_proj"}, "unknown lora targets 'q_proj', expected all-linear or a list of names"),
    ],
)
def test_impossible_adapters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRAConfig(**arguments)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_8", "olora"])
def test_a_start_that_splits_weights_is_refused_with_quantised_ones(start: str) -> None:
    lora = LoRAConfig(init_lora_weights=start)
    with pytest.raises(ValueError, match=f"lora init_lora_weights {start} cannot split weights in llm quantize: 4bit"):
        LLMConfig("x", train="lora", quantize="4bit", lora=lora)


def test_a_yaml_gives_the_adapters_of_peft() -> None:
    values = {"targets": "all-linear", "use_rslora": True, "use_dora": True, "init_lora_weights": "pissa_niter_4"}
    config = from_mapping(LoRAConfig, values, "lora.yaml")
    assert (config.targets, config.use_rslora, config.splits_weights) == ("all-linear", True, True)
    assert from_mapping(LoRAConfig, {"targets": ["c_attn"]}, "lora.yaml").targets == ("c_attn",)
    with pytest.raises(ValueError, match="lora.yaml: use_dora: expected bool, found 'yes'"):
        from_mapping(LoRAConfig, {"use_dora": "yes"}, "lora.yaml")
    with pytest.raises(ValueError, match="lora.yaml: targets: expected list or str, found 3"):
        from_mapping(LoRAConfig, {"targets": 3}, "lora.yaml")
