"""The LLM's door: what trains, dtype kept, adapters, fingerprints, refusals, and the trained stories260K."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllama.model.llm import LLM, LLMConfig, LoRAConfig, choose_dtype
from speechllama.model.llm_files import fingerprint, load_tokenizer
from speechllama.model.llm_record import prepare_llm, read_llm_record
from speechllama.model.prefix_mask import additive, join_right_aligned, position_ids, visible


def test_a_frozen_llm_trains_nothing_and_keeps_its_dtype(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), dtype="bfloat16"))
    assert not any(parameter.requires_grad for parameter in llm.parameters())
    llm.to(dtype=torch.float32, device="cpu")
    assert {parameter.dtype for parameter in llm.parameters()} == {torch.bfloat16}


def test_lora_trains_its_adapters_alone_in_float32(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype="bfloat16", lora=LoRAConfig(rank=3)))
    trainable = {name: parameter for name, parameter in llm.named_parameters() if parameter.requires_grad}
    # 2 layers, q k v o, A and B of rank 3 at width 32
    assert sum(parameter.numel() for parameter in trainable.values()) == 2 * 4 * 2 * 3 * 32
    assert all("lora_" in name for name in trainable)
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}


def test_the_papers_lora_has_2_1_million_parameters() -> None:
    # LLaMA-7B: 32 layers of width 4096; rank 2 on four square projections
    assert 32 * 4 * LoRAConfig().rank * (4096 + 4096) == pytest.approx(2.1e6, rel=0.01)


def test_a_fresh_adapter_changes_nothing(tiny_llm: Path) -> None:
    tokens = torch.tensor([[1, 5, 9, 12]])
    frozen, adapted = (LLM(LLMConfig(str(tiny_llm), train=train)).eval() for train in ("frozen", "lora"))
    torch.testing.assert_close(score(frozen, tokens), score(adapted, tokens))


def score(llm: LLM, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of all columns of a full batch without padding."""
    lengths, width = torch.full((len(tokens),), tokens.shape[1]), tokens.shape[1]
    mask = additive(visible(lengths, width, 0, "causal"), torch.float32)
    with torch.no_grad():
        return llm(llm.embed(tokens), mask, position_ids(lengths, width, 0), num_logits=width)


def test_padding_never_changes_an_utterance(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm))).eval()
    tokens = torch.tensor([[3, 7, 9, 11, 30], [5, 6, -1, -1, -1]])
    lengths = torch.tensor([5, 2])
    prefix = join_right_aligned([(llm.embed(tokens), lengths)])
    mask = additive(visible(prefix.lengths, 5, 0, "non_causal"), torch.float32)
    batched = llm(prefix.embeddings, mask, position_ids(prefix.lengths, 5, 0), num_logits=1)
    for row, length in enumerate(lengths.tolist()):
        own = lengths[row : row + 1]
        mask = additive(visible(own, length, 0, "non_causal"), torch.float32)
        alone = llm(llm.embed(tokens[row : row + 1, :length]), mask, position_ids(own, length, 0), num_logits=1)
        torch.testing.assert_close(batched[row], alone[0], atol=1e-4, rtol=1e-4)


def test_training_mode_wakes_no_dropout_of_a_frozen_llm(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", lora=LoRAConfig(dropout=0.1))).train()
    awake = [name for name, module in llm.model.named_modules() if module.training]
    assert awake
    assert all("lora_dropout" in name for name in awake)


def test_the_trained_llama_tells_its_story(shared_data: Path) -> None:
    path = str(shared_data / "llama" / "stories260K")
    llm, tokenizer = LLM(LLMConfig(path)), load_tokenizer(path)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("Once upon a time", add_special_tokens=False).input_ids]])
    story = tokenizer.decode(llm.model.generate(ids, max_new_tokens=30, do_sample=False)[0], skip_special_tokens=True)
    # shared/data/README.md gives this continuation
    assert "there was a little girl named Lily. She loved to play outside in the park." in story


def test_fingerprint_follows_the_weights_not_the_place(tiny_llm: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llm, copy)
    assert fingerprint(str(copy)) == fingerprint(str(tiny_llm))
    weights = load_file(copy / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(str(copy)) != fingerprint(str(tiny_llm))


def test_a_second_format_of_the_same_weights_changes_no_fingerprint(tiny_llm: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llm, copy)
    (copy / "pytorch_model.bin").write_bytes(b"the hub has both, this machine may have one")
    assert fingerprint(str(copy)) == fingerprint(str(tiny_llm))


def test_the_embeddings_scale_is_what_the_llm_reads(tmp_path: Path) -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = Gemma3TextConfig(vocab_size=300, eos_token_id=1, **sizes, **heads)
    Gemma3ForCausalLM(config).save_pretrained(tmp_path)
    llm = LLM(LLMConfig(str(tmp_path)))
    weight = llm.model.get_input_embeddings().weight
    assert llm.embedding_std == pytest.approx(weight.std().item() * 32**0.5, rel=1e-3)  # Gemma scales by sqrt(H)


def change_config(source: Path, target: Path, **changes: object) -> str:
    shutil.copytree(source, target)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((target / name).read_text())
        (target / name).write_text(json.dumps({**settings, **changes}))
    return str(target)


def test_the_first_of_several_ends_is_taken_and_none_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    assert LLM(LLMConfig(change_config(tiny_llm, tmp_path / "a", eos_token_id=[7, 8]))).eos_token_id == 7
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


def test_a_record_inside_its_folder_can_be_moved(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llm, tmp_path / "a" / "model")
    record = prepare_llm(str(tmp_path / "a" / "model"), None, tmp_path / "a")
    assert record["path"] == "model"
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_llm_record(str(tmp_path / "b")) == (str(tmp_path / "b" / "model"), None)


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


def test_a_tokenizer_of_another_llm_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    copy = tmp_path / "llm"
    shutil.copytree(tiny_llm, copy)
    settings = json.loads((copy / "config.json").read_text())
    settings["vocab_size"] = 40
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens, the LLM 40 embeddings"):
        load_tokenizer(str(copy))


def test_a_lora_target_that_is_no_layer_is_refused(tiny_llm: Path) -> None:
    config = LLMConfig(str(tiny_llm), train="lora", lora=LoRAConfig(targets=("q_proj", "query")))
    with pytest.raises(ValueError, match=r"LoRA targets \['query'\] are no linear layers"):
        LLM(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "lorra"}, "llm train 'lorra' is none of"),
        ({"dtype": "bf16"}, "llm dtype 'bf16' is neither auto nor"),
        ({"random_weights": True, "train": "lora"}, "random_weights needs train: full, found lora"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LLMConfig("x", **arguments)
