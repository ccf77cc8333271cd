"""The kind of an LLM, read from its config: the text part of a multimodal model, and what no LLM of its kind can do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMultimodalLM

from speechllama.llm.admission import admit
from speechllama.llm.architecture import cache_argument, check_interface, check_layers, running
from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.record import prepare_llm
from test.llm.families import MULTIMODAL, find, multimodal

TOKENS = torch.tensor([[1, 5, 9, 12, 7, 11, 30]])


@pytest.fixture
def saved(tiny_llm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Any]:
    """A tiny multimodal model next to the tokenizer of the tests' LLaMA: its folder, and itself."""
    folder, config = tmp_path / "whole", multimodal(request.param)
    shutil.copytree(tiny_llm, folder)
    (folder / "model.safetensors").unlink()
    config.text_config.eos_token_id = load_tokenizer(str(tiny_llm)).eos_token_id
    torch.manual_seed(0)
    whole = AutoModelForMultimodalLM.from_config(config).eval()
    whole.save_pretrained(folder)
    return folder, whole


TEXT_LLMS = {"gemma3": "Gemma3ForCausalLM", "gemma4": "Gemma4ForCausalLM", "mistral3": "MistralForCausalLM"}
TEXT_LLMS |= {"llava": "LlamaForCausalLM"}


@pytest.mark.parametrize("saved", TEXT_LLMS, indirect=True)
def test_the_text_part_of_a_multimodal_model_is_taken_adapters_and_all(saved: tuple[Path, Any], tmp_path: Path) -> None:
    folder, whole = saved
    lora = LoRAConfig(targets="all-linear")
    llm = LLM(LLMConfig(str(folder), train="lora", lora=lora)).eval()
    assert type(llm.model).__name__ == TEXT_LLMS[whole.config.model_type]
    adapters = [name for name, _ in llm.named_parameters() if "lora_A" in name]
    assert len(adapters) == 2 * 7 and not [name for name in adapters if "vision" in name]  # 2 layers, 7 linear ones
    assert not any("vision" in name or "tower" in name for name, _ in llm.named_parameters())
    with torch.no_grad():
        expected = whole(input_ids=TOKENS).logits
        torch.testing.assert_close(llm.model(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=1e-5)
    record = prepare_llm(str(folder), None, tmp_path / "llm")
    assert record["architecture"] == TEXT_LLMS[whole.config.model_type]
    assert record["prefix_masks"] == ["causal", "non_causal"]


REFUSED = {
    "qwen3_5": "whole: Qwen3_5ForCausalLM is refused: a padded prefix must give the logits of an unpadded one, but",
    # Its text part sees ahead everywhere, and our mask is causal.
    "paligemma": "whole: GemmaForCausalLM is refused: logits from embeddings must be its own from token ids, but they",
}


@pytest.mark.parametrize("saved", REFUSED, indirect=True)
def test_the_text_part_of_a_multimodal_model_is_tested_like_any_llm(saved: tuple[Path, Any], tiny_llm: Path) -> None:
    folder, whole = saved
    with pytest.raises(ValueError, match=REFUSED[whole.config.model_type]):
        admit(LLM(LLMConfig(str(folder))), load_tokenizer(str(tiny_llm)))


@pytest.mark.parametrize("saved", ["qwen2_5_vl"], indirect=True)
def test_a_multimodal_model_without_a_text_llm_is_refused_by_name(saved: tuple[Path, Any], tmp_path: Path) -> None:
    message = "whole: qwen2_5_vl, whose text part is qwen2_5_vl_text, is no causal LM of the installed transformers"
    with pytest.raises(ValueError, match=message):
        prepare_llm(str(saved[0]), None, tmp_path / "llm")
    with pytest.raises(ValueError, match=message):
        LLM(LLMConfig(str(saved[0])))


def test_the_table_names_every_multimodal_model_that_is_tested() -> None:
    assert {*MULTIMODAL} == {*TEXT_LLMS, *REFUSED, "qwen2_5_vl"}


@pytest.mark.parametrize("name", ["mamba", "rwkv", "bloom", "mpt"])
def test_an_llm_without_positions_is_refused_before_its_weights_are_read(name: str, tmp_path: Path) -> None:
    find(name).config().save_pretrained(tmp_path)  # no weights, whose absence would be the next thing to say
    with pytest.raises(ValueError, match=r"ForCausalLM takes no position_ids; without them a padded utterance would"):
        LLM(LLMConfig(str(tmp_path)))


def test_the_argument_of_the_cache_is_chosen_by_signature() -> None:
    class Old:
        def forward(self, position_ids: int, past_key_values: int) -> None: ...

    class New:
        def forward(self, position_ids: int, cache: int) -> None: ...

    assert (cache_argument(Old), cache_argument(New)) == ("past_key_values", "cache")
    check_interface(Old, "old")


@pytest.mark.parametrize(
    ("name", "variant", "message"),
    [
        ("qwen3_next", "", r"tiny: qwen3_next has recurrent layers \(linear_attention\), which no mask reaches"),
        ("lfm2", "", r"tiny: lfm2 has recurrent layers \(conv\), which no mask reaches"),
        (
            "gemma4_text",
            "embeddings for each layer",
            "tiny: gemma4_text looks up embeddings of each token for each l",
        ),
    ],
)
def test_layers_that_rule_an_llm_out_are_seen_in_its_config(name: str, variant: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_layers(find(name, variant).config(), "tiny")
    check_layers(find("gemma3_text").config(), "tiny")


def test_a_model_that_does_not_run_is_named_but_for_lack_of_memory() -> None:
    config = find("llama").config()
    message = r"llama: this LLM does not read .* \(KeyError: 'x'\). Choose another LLM"
    with pytest.raises(ValueError, match=message), running(config):
        raise KeyError("x")
    with pytest.raises(torch.OutOfMemoryError, match="no room"), running(config):
        raise torch.OutOfMemoryError("no room")
