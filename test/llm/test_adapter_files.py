"""Somebody's adapter: read where it fits, refused with what would fit where it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.llm.adapter_files import Base, adapter_fingerprint, load_adapter, write_adapter
from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.llm import LLM
from speechllama.model.meta_model import meta_llm, read_architecture
from test.llm.families import find

TOKENS = torch.tensor([[1, 5, 9, 12, 7]])


def adapt(path: Path, **settings: Any) -> LLM:
    """An LLM with fresh adapters."""
    lora = LoRAConfig(**{"rank": 4, "alpha": 6.0, "targets": ("q_proj", "down_proj"), **settings})
    return LLM(LLMConfig(str(path), train="lora", lora=lora)).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS).logits
    return found


def somebodys(llm: Path, folder: Path, **more: Any) -> Any:
    """Write an adapter with nothing but peft -> peft's model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **more}
    torch.manual_seed(5)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(llm), LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(str(folder))
    return model.eval()


@pytest.fixture(scope="module")
def adapter(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's adapter of the tiny LLM."""
    folder = tmp_path_factory.mktemp("adapters") / "theirs"
    somebodys(tiny_llm, folder)
    return folder


@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"use_rslora": True}], ids=str)
def test_adapters_that_peft_trained_are_started_from(tiny_llm: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    theirs = somebodys(tiny_llm, tmp_path / "theirs", **more)
    llm = adapt(tiny_llm, **more)
    load_adapter(tmp_path / "theirs", llm, Base(str(tiny_llm), None, "unknown"))
    torch.testing.assert_close(logits(llm.model), logits(theirs), atol=1e-5, rtol=1e-5)
    assert all("lora_" in name for name, weight in llm.named_parameters() if weight.requires_grad)


@pytest.mark.parametrize("start", [True, "pissa"])
def test_gpt2s_adapters_leave_for_peft(tmp_path: Path, start: Any, recwarn: pytest.WarningsRecorder) -> None:
    from peft import PeftModel

    torch.manual_seed(1)
    plain = find("gpt2").build().eval()
    plain.save_pretrained(tmp_path / "gpt2")
    lora = LoRAConfig(rank=4, targets=("c_attn",), init_lora_weights=start)
    config = LLMConfig(str(tmp_path / "gpt2"), train="lora", lora=lora)
    llm = LLM(config, model=plain).eval()
    with torch.no_grad():
        for weight in llm.parameters():
            weight.add_(0.1 * torch.randn_like(weight) * weight.requires_grad)
    expected = logits(llm.model)
    tensors = {**llm.state_dict(), **dict(llm.named_parameters())}
    (tmp_path / "adapter").mkdir()
    shape = meta_llm(config, read_architecture(config.path))
    write_adapter(tmp_path / "adapter", shape, tensors, Base(config.path, None, "00"))
    again = type(plain).from_pretrained(tmp_path / "gpt2")
    found = logits(PeftModel.from_pretrained(again, str(tmp_path / "adapter")).eval())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not [entry for entry in recwarn if "fan_in" in str(entry.message)]


def edited(adapter: Path, folder: Path, **settings: Any) -> Path:
    """A copy of an adapter with other settings."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "adapter_config.json: peft_type 'IA3', expected LORA"),
        (
            {"r": 8},
            "another adapter than that of llm_conf: rank 8 there, 4 here. Set in the system's YAML, or in one that "
            r"includes it: llm_conf: {lora: {rank: 8, alpha: 6, use_rslora: false, use_dora: false, targets: "
            r"\[down_proj, q_proj\]}}",
        ),
        ({"lora_alpha": 16, "use_dora": True}, "alpha 16 there, 6.0 here; use_dora True there, False here"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' took a part of the LLM's weights, so these adapters"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save: \['lm_head'\]: speechllama trains nothing of the kind"),
        ({"base_model_name_or_path": "org/other"}, "these adapters belong to org/other, the LLM here is .*tiny"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    adapter: Path, tiny_llm: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = edited(adapter, tmp_path / "edited", **settings)
    with pytest.raises(ValueError, match=message):
        load_adapter(folder, adapt(tiny_llm), Base(str(tiny_llm), None, "unknown"))


def test_an_adapter_of_other_layers_or_another_width_is_refused(adapter: Path, tiny_llm: Path, tmp_path: Path) -> None:
    base = Base(str(tiny_llm), None, "unknown")
    with pytest.raises(
        ValueError, match=r"tensors do not fit this LLM .* target_modules \[down_proj, q_proj\], llm_conf"
    ):
        load_adapter(adapter, adapt(tiny_llm, targets=("q_proj", "v_proj")), base)
    from speechllama.llm.scratch_llm import LlamaConfig, llama_shape

    wider = llama_shape(LlamaConfig(150, width=64, num_layers=2, num_heads=4, ffn_dim=64, tie_embeddings=True), 150)
    config = adapt(tiny_llm).config
    with pytest.raises(ValueError, match=r"lora_A.weight: \(4, 32\) in the adapter, \(4, 64\) here"):
        load_adapter(adapter, meta_llm(config, wider), base)


def test_an_adapter_of_other_weights_is_refused_and_the_same_weights_may_be_called_otherwise(
    adapter: Path, tiny_llm: Path, tmp_path: Path
) -> None:
    from speechllama.hub import fingerprint

    own = fingerprint(str(tiny_llm)).hex()
    load_adapter(adapter, adapt(tiny_llm), Base("organisation/tiny", None, own))  # which the adapter's base is
    with pytest.raises(
        ValueError, match="these adapters were trained on other weights .*than those of organisation/tiny"
    ):
        load_adapter(adapter, adapt(tiny_llm), Base("organisation/tiny", None, "other"))


def test_a_directory_without_an_adapter_and_damaged_weights_are_named(
    adapter: Path, tiny_llm: Path, tmp_path: Path
) -> None:
    base = Base(str(tiny_llm), None, "unknown")
    with pytest.raises(FileNotFoundError, match="nothing/adapter_config.json: no adapter there; expected a directory"):
        load_adapter(tmp_path / "nothing", adapt(tiny_llm), base)
    folder = edited(adapter, tmp_path / "damaged")
    before = adapter_fingerprint(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      junk")
    assert adapter_fingerprint(folder) != before
    with pytest.raises(ValueError, match="adapter_model.safetensors: .*"):
        load_adapter(folder, adapt(tiny_llm), base)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match="no weights of the adapter; others than safetensors are not read"):
        load_adapter(folder, adapt(tiny_llm), base)
