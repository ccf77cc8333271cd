"""GGUF files: what comes out of one is the LLM that went in; damaged ones and strangers are refused by name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.bin import prepare_llm
from speechllama.llm.files import load_tokenizer
from speechllama.llm.gguf_file import check_gguf, convert_gguf
from speechllama.llm.llm import LLM, LLMConfig
from speechllama.llm.record import read_llm_record
from speechllama.recipe.preflight.llm_check import find_llm

HEADS = 4
TEXT = "Der Hund schläft, the café sleeps."


def write_gguf(path: Path, model: Any, tokenizer: Any, architecture: str = "llama", kind: str = "F32") -> Path:
    """Write a LLaMA as llama.cpp's own converter does: its names, and the rows of q and k in its order.

    Of a quantised kind are the matrices whose rows are whole blocks, as in every file of llama.cpp.
    """
    import gguf

    writer, config = gguf.GGUFWriter(str(path), architecture), model.config
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(config.hidden_size // HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    control = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([token for token, _ in vocabulary])
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL if token in control else kinds.NORMAL for token, _ in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.bos_token_id)
    stored = gguf.GGMLQuantizationType[kind]
    for name, tensor in gguf_tensors(model).items():
        if is_quantised(tensor, kind):
            writer.add_tensor(name, gguf.quants.quantize(tensor, stored), raw_dtype=stored)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def is_quantised(tensor: np.ndarray, kind: str) -> bool:
    """Whether a tensor is of the kind, or in float32."""
    return kind != "F32" and tensor.ndim > 1 and tensor.shape[-1] % 32 == 0


def gguf_tensors(model: Any) -> dict[str, np.ndarray]:
    """The weights under llama.cpp's names."""

    def interleave(weight: torch.Tensor) -> torch.Tensor:
        halves = weight.reshape(HEADS, 2, -1, weight.shape[1])
        return halves.transpose(1, 2).reshape(weight.shape)

    tensors = {"token_embd.weight": model.model.embed_tokens.weight, "output_norm.weight": model.model.norm.weight}
    tensors["output.weight"] = model.lm_head.weight
    for index, layer in enumerate(model.model.layers):
        attention, ffn, place = layer.self_attn, layer.mlp, f"blk.{index}"
        tensors |= {
            f"{place}.attn_q.weight": interleave(attention.q_proj.weight),
            f"{place}.attn_k.weight": interleave(attention.k_proj.weight),
            f"{place}.attn_v.weight": attention.v_proj.weight,
            f"{place}.attn_output.weight": attention.o_proj.weight,
            f"{place}.ffn_gate.weight": ffn.gate_proj.weight,
            f"{place}.ffn_up.weight": ffn.up_proj.weight,
            f"{place}.ffn_down.weight": ffn.down_proj.weight,
            f"{place}.attn_norm.weight": layer.input_layernorm.weight,
            f"{place}.ffn_norm.weight": layer.post_attention_layernorm.weight,
        }
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A GGUF file, and the LLaMA and the byte-level tokenizer that it was made of."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([TEXT] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=special[0], eos_token=special[1])
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=HEADS
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # sharper than at birth
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    folder = tmp_path_factory.mktemp("gguf")
    return write_gguf(folder / "tiny.f32.gguf", model, tokenizer), model, tokenizer


def test_an_llm_from_a_gguf_file_is_the_llm_that_went_in(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    path, model, tokenizer = made
    llm_dir = tmp_path / "exp/llm_tiny.f32"
    prepare_llm.main(["--llm", str(path), "--dtype", "float32", "--output_dir", str(llm_dir)])
    folder, _ = read_llm_record(str(llm_dir))
    assert folder == str(llm_dir / "model")
    loaded, own = LLM(LLMConfig(folder)), load_tokenizer(folder)
    ids = tokenizer(TEXT).input_ids
    assert own(TEXT, add_special_tokens=False).input_ids == ids and own.decode(ids) == TEXT
    batch = torch.tensor([ids])
    torch.testing.assert_close(loaded.model(batch).logits, model(batch).logits, atol=1e-5, rtol=1e-5)
    assert (loaded.eos_token_id, own.bos_token_id) == (tokenizer.eos_token_id, tokenizer.bos_token_id)
    names = {file.name for file in (llm_dir / "model").iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    record = json.loads((llm_dir / "llm.json").read_text())
    assert record["gguf"] == str(path) and record["precision"] == "float32"


def test_the_weights_are_written_in_the_precision_that_is_wanted(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    path = str(made[0])
    sizes = {}
    for precision in ("float32", "bfloat16"):
        folder, entries = convert_gguf(path, tmp_path / precision, precision)
        assert entries["precision"] == precision
        assert json.loads((Path(folder) / "config.json").read_text())["dtype"] == precision
        sizes[precision] = (Path(folder) / "model.safetensors").stat().st_size
    num_parameters = sum(weight.numel() for weight in made[1].parameters())
    assert sizes["float32"] - sizes["bfloat16"] == pytest.approx(2 * num_parameters, abs=500)  # the headers differ


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_quantised_weights_are_written_as_the_numbers_that_they_stand_for(
    made: tuple[Path, Any, Any], tmp_path: Path, kind: str
) -> None:
    import gguf

    model = made[1]
    path, stored = write_gguf(tmp_path / f"tiny.{kind}.gguf", *made[1:], kind=kind), gguf.GGMLQuantizationType[kind]
    llm_dir = tmp_path / "llm"
    prepare_llm.main(["--llm", str(path), "--dtype", "float32", "--output_dir", str(llm_dir)])
    folder, _ = read_llm_record(str(llm_dir))
    assert "quantization_config" not in json.loads((Path(folder) / "config.json").read_text())
    found = gguf_tensors(LLM(LLMConfig(folder)).model)
    num_quantised = 0
    for name, tensor in gguf_tensors(model).items():
        expected = tensor
        if is_quantised(tensor, kind):
            expected = gguf.quants.dequantize(gguf.quants.quantize(tensor, stored), stored)
            num_quantised += 1
            assert not np.array_equal(expected, tensor)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    assert num_quantised == 2 + 2 * 6  # of a layer all but `down`, whose rows have 48 numbers


def test_a_second_conversion_replaces_the_first(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/of_before").touch()
    convert_gguf(str(made[0]), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model/of_before").exists()


def test_stage_0_reads_a_gguf_file_without_its_weights(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    faults: list[str] = []
    found = find_llm(str(made[0]), None, faults)
    assert found is not None and not faults
    assert found.architecture.num_hidden_layers == 2
    assert found.bytes_to_write == 4 * sum(weight.numel() for weight in made[1].parameters())
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(made[0].read_bytes()[:500])
    assert find_llm(str(broken), None, faults) is None
    assert "broken.gguf: a damaged GGUF file" in faults[0]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(made: tuple[Path, Any, Any], tmp_path: Path, share: float) -> None:
    content = made[0].read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"broken.gguf: a damaged GGUF file \(.*\); fetch it again"):
        convert_gguf(str(broken), tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\3\4" + bytes(4000))
    with pytest.raises(ValueError, match="other.gguf: a damaged GGUF file .*magic"):
        check_gguf(str(other))
    with pytest.raises(FileNotFoundError, match="nothing.gguf': no such GGUF file"):
        load_tokenizer(str(tmp_path / "nothing.gguf"))


def test_weights_that_are_no_numbers_are_refused(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    _, model, tokenizer = made
    weight = model.model.layers[1].mlp.up_proj.weight
    kept = weight[3, 5].item()
    with torch.no_grad():
        weight[3, 5] = float("nan")
    try:
        path = write_gguf(tmp_path / "nan.gguf", model, tokenizer)
    finally:
        with torch.no_grad():
            weight[3, 5] = kept
    with pytest.raises(ValueError, match=r"nan.gguf: model.layers.1.mlp.up_proj.weight holds NaN or infinity"):
        convert_gguf(str(path), tmp_path / "llm")
    assert list((tmp_path / "llm").iterdir()) == []


def test_a_file_without_some_tensors_is_refused(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    _, model, tokenizer = made
    config = model.config.__class__(**{**model.config.to_dict(), "num_hidden_layers": 3})
    original, model.config = model.config, config
    try:
        path = write_gguf(tmp_path / "short.gguf", model, tokenizer)
    finally:
        model.config = original
    with pytest.raises(ValueError, match=r"short.gguf: the GGUF file (lacks \d+ tensors|has no tensor)"):
        convert_gguf(str(path), tmp_path / "llm")


def test_an_unknown_architecture_is_refused(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "clip.gguf", *made[1:], architecture="clip")
    with pytest.raises(
        ValueError, match=r"clip.gguf: .* cannot unpack .* the architecture 'clip', expected one of .*llama"
    ):
        convert_gguf(str(path), tmp_path / "llm")


def test_a_missing_extra_is_named(made: tuple[Path, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"tiny.f32.gguf: .* needs the package gguf: pip install -e '.\[gguf\]'"):
        convert_gguf(str(made[0]), tmp_path / "llm")


def test_a_precision_is_only_for_a_gguf_file(tiny_llm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--dtype float32 is for a GGUF file; .* is read as it is"):
        prepare_llm.main(["--llm", str(tiny_llm), "--dtype", "float32", "--output_dir", str(tmp_path)])
