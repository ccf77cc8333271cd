"""Adapters: where they go, how they start, and that a checkpoint gives the same logits on a base read anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import position_ids, visible
from speechllama.model.checkpoint import keep_only_trainable
from test.llm.families import find

STARTS: list[Any] = [True, "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora"]
TOKENS = torch.tensor([[1, 5, 9, 12, 7]])


def score(llm: LLM) -> torch.Tensor:
    """Logits of a few tokens."""
    lengths, width = torch.full((len(TOKENS),), TOKENS.shape[1]), TOKENS.shape[1]
    with torch.no_grad():
        return llm(llm.embed(TOKENS), visible(lengths, width, 0, "causal"), position_ids(lengths, width, 0), width)


def adapt(path: Path, dtype: str = "float32", **settings: Any) -> LLM:
    """An LLM with adapters."""
    config = LLMConfig(str(path), train="lora", dtype=dtype, lora=LoRAConfig(rank=4, **settings))
    return LLM(config).eval()


def train(llm: LLM) -> None:
    """Move every weight that trains."""
    with torch.no_grad():
        for name, weight in llm.named_parameters():
            if weight.requires_grad:
                assert "lora_" in name
                weight.add_(0.1 * torch.randn_like(weight))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_a_fresh_adapter_changes_nothing_whatever_its_start(tiny_llm: Path, start: Any, dora: bool) -> None:
    adapted = adapt(tiny_llm, init_lora_weights=start, use_dora=dora)
    torch.testing.assert_close(score(adapted), score(LLM(LLMConfig(str(tiny_llm))).eval()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_a_checkpoint_gives_the_same_logits_on_a_base_read_anew(
    tiny_llm: Path, start: Any, dora: bool, rslora: bool
) -> None:
    settings = {"init_lora_weights": start, "use_dora": dora, "use_rslora": rslora}
    torch.manual_seed(1)
    trained = adapt(tiny_llm, **settings)
    keep_only_trainable(trained, b"base", also=("adapter_starts",))
    train(trained)
    torch.manual_seed(2)  # another process draws other numbers, also within the approximate PiSSA
    again = adapt(tiny_llm, **settings)
    keep_only_trainable(again, b"base", also=("adapter_starts",))
    again.load_state_dict(trained.state_dict())
    torch.testing.assert_close(score(again), score(trained), atol=1e-5, rtol=1e-5)
    split = start in ("pissa", "pissa_niter_4", "olora")
    assert any("adapter_starts" in name for name in trained.state_dict()) == split


def load_starts(llm: LLM, starts: dict[str, torch.Tensor]) -> None:
    """Load a checkpoint whose adapters began elsewhere."""
    llm.load_state_dict({**llm.state_dict(), **starts})


def starts_of(llm: LLM) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of the starts of the adapters."""
    return {name: tensor.clone() for name, tensor in llm.state_dict().items() if "adapter_starts" in name}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_start_took_is_put_back_and_what_the_checkpoints_took_is_taken(tiny_llm: Path, dtype: str) -> None:
    plain = LLM(LLMConfig(str(tiny_llm), dtype=dtype)).model.model.layers[0].self_attn.q_proj.weight.float()
    llm = adapt(tiny_llm, dtype, init_lora_weights="olora", use_rslora=True)
    layer = llm.model.model.layers[0].self_attn.q_proj
    other = {name: torch.randn_like(tensor) for name, tensor in starts_of(llm).items()}
    load_starts(llm, other)
    a, b = (other[f"adapter_starts.model/layers/0/self_attn/q_proj/{part}"] for part in "AB")
    tolerance = 1e-5 if dtype == "float32" else 0.1  # bfloat16 rounds twice, values up to 10 to 8 bits
    expected = plain - 2.0 * b @ a  # alpha / sqrt(rank) is 2
    torch.testing.assert_close(layer.get_base_layer().weight.float(), expected, atol=tolerance, rtol=tolerance)


def test_rslora_scales_by_the_root_of_the_rank(tiny_llm: Path) -> None:
    llms = [adapt(tiny_llm, alpha=8.0, use_rslora=use) for use in (False, True)]
    scales = [llm.model.model.layers[0].self_attn.q_proj.scaling["default"] for llm in llms]
    assert scales == [2.0, 4.0]  # 8 / 4 and 8 / sqrt(4)


def test_dora_trains_a_length_for_every_vector(tiny_llm: Path) -> None:
    llms = [adapt(tiny_llm, use_dora=use) for use in (False, True)]
    plain, dora = (sum(weight.numel() for weight in llm.parameters() if weight.requires_grad) for llm in llms)
    assert dora - plain == 2 * 4 * 32  # 2 layers, q k v o, outputs of width 32


def names_of(llm: LLM) -> set[str]:
    """Last names of the layers that have an adapter."""
    return {name.rpartition(".lora_A.")[0].rpartition(".")[2] for name, _ in llm.named_parameters() if "lora_A" in name}


def test_all_linear_is_every_linear_layer_but_the_head(tiny_llm: Path) -> None:
    expected = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert names_of(adapt(tiny_llm, targets="all-linear")) == expected


def test_all_linear_leaves_a_familys_own_kind_of_layer_out() -> None:
    config = LLMConfig("tiny", train="lora", lora=LoRAConfig(targets="all-linear"))
    llm = LLM(config, model=find("llama4_text").build()).eval()
    assert "router" not in names_of(llm) and "q_proj" in names_of(llm)
    score(llm)  # Llama 4's router returns a pair, with which peft's layer could do nothing
    wrong = dataclasses.replace(config, lora=LoRAConfig(targets=("router",)))
    with pytest.raises(ValueError, match=r"LoRA targets \['router'\] are no linear layers of this model; it has"):
        LLM(wrong, model=find("llama4_text").build())


@pytest.mark.parametrize("start", [True, "pissa"])
def test_gpt2s_conv1d_takes_adapters_without_a_warning(start: Any, recwarn: pytest.WarningsRecorder) -> None:
    lora = LoRAConfig(rank=4, targets=("c_attn",), init_lora_weights=start)
    plain = LLM(LLMConfig("tiny"), model=find("gpt2").build()).eval()
    llm = LLM(LLMConfig("tiny", train="lora", lora=lora), model=find("gpt2").build()).eval()
    torch.testing.assert_close(score(llm), score(plain), atol=1e-4, rtol=1e-4)
    assert names_of(llm) == {"c_attn"} and not [entry for entry in recwarn if "fan_in" in str(entry.message)]
    if start == "pissa":
        before, starts = score(llm), starts_of(llm)
        load_starts(llm, {name: torch.randn_like(tensor) for name, tensor in starts.items()})
        assert not torch.allclose(before, score(llm), atol=0.1)
        load_starts(llm, starts)
        torch.testing.assert_close(before, score(llm), atol=1e-4, rtol=1e-4)
