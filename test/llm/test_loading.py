"""An LLM is loaded whole, in the precision that the device has, or refused with the reason."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.loading import check_quantization, choose_dtype
from test.model.conftest import change_config


def test_of_several_ends_the_tokenizers_is_taken_and_none_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    own = load_tokenizer(str(tiny_llm)).eos_token_id
    assert LLM(LLMConfig(change_config(tiny_llm, tmp_path / "a", eos_token_id=[7, own]))).eos_token_id == own != 7
    with pytest.raises(ValueError, match="the tokenizer ends a text with"):
        LLM(LLMConfig(change_config(tiny_llm, tmp_path / "c", eos_token_id=[7, 8])))
    with pytest.raises(ValueError, match="config.json has no eos_token_id; the model could never stop"):
        LLM(LLMConfig(change_config(tiny_llm, tmp_path / "b", eos_token_id=None)))


def test_auto_is_bfloat16_where_the_llm_computes_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert choose_dtype("auto", "cuda") == torch.bfloat16
    assert choose_dtype("auto", "cpu") == torch.float32
    assert choose_dtype("float16", "cpu") == torch.float16


def test_weights_that_lack_tensors_or_are_torn_are_refused(tiny_llm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the weights lack \d+ tensors of config.json: \['model.layers.2"):
        LLM(LLMConfig(change_config(tiny_llm, tmp_path / "a", num_hidden_layers=3)))
    shutil.copytree(tiny_llm, tmp_path / "b")
    weights = tmp_path / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="transformers cannot load a causal LM from it"):
        LLM(LLMConfig(str(tmp_path / "b")))


def test_a_path_that_is_no_llm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no language model: expected a directory with config.json"):
        LLM(LLMConfig(str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="'/nowhere/llama' is no language model"):
        load_tokenizer("/nowhere/llama")


def test_a_config_without_weights_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_llm / "config.json", tmp_path)
    with pytest.raises(ValueError, match="transformers cannot load a causal LM from it"):
        LLM(LLMConfig(str(tmp_path)))


def test_random_weights_need_a_config_alone(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_llm / "config.json", tmp_path)
    llm = LLM(LLMConfig(str(tmp_path), train="full", random_weights=True))
    assert all(parameter.requires_grad for parameter in llm.parameters())


def test_a_lora_target_that_is_no_layer_is_refused(tiny_llm: Path) -> None:
    config = LLMConfig(str(tiny_llm), train="lora", lora=LoRAConfig(targets=("q_proj", "query")))
    with pytest.raises(ValueError, match=r"LoRA targets \['query'\] are no linear layers"):
        LLM(config)


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantised_llm_is_refused_without_a_gpu_or_without_its_package(
    quantize: Any, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LLMConfig(str(tiny_llm), quantize=quantize)
    with pytest.raises(ValueError, match=f"quantize {quantize} needs an NVIDIA GPU: give --ngpu 1"):
        LLM(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = rf"quantize {quantize} needs the package bitsandbytes: pip install -e '\.\[quant\]'"
    with pytest.raises(ValueError, match=message):
        check_quantization(config, "cuda")
