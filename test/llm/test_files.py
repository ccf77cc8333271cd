"""An LLM's directory: fingerprint of the weights, the tokenizer that fits, missing files, the hub's token."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechllama.hub import fingerprint, missing_weights, use_token_file
from speechllama.llm.files import load_tokenizer
from test.model.conftest import change_config


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


def test_a_tokenizer_must_end_as_its_llm_does(tiny_llm: Path, tmp_path: Path) -> None:
    own = load_tokenizer(str(tiny_llm)).eos_token_id
    several = change_config(tiny_llm, tmp_path / "llama3", eos_token_id=[7, own, 8])  # as Llama 3 has them
    assert load_tokenizer(several).eos_token_id == own
    other = change_config(tiny_llm, tmp_path / "other", eos_token_id=[7, 8])
    message = rf"other: the tokenizer ends a text with '</s>' \({own}\), the LLM's .* with \[7, 8\]; set eos_token in"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(other)
    generation = tmp_path / "other/generation_config.json"  # the config names the base's end, this one the chat's too
    generation.write_text(json.dumps({"eos_token_id": [7, own]}))
    assert load_tokenizer(other).eos_token_id == own
    generation.unlink()
    with pytest.raises(ValueError, match="the tokenizer ends a text with"):
        load_tokenizer(other)


def test_a_tokenizer_of_another_llm_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    copy = tmp_path / "llm"
    shutil.copytree(tiny_llm, copy)
    settings = json.loads((copy / "config.json").read_text())
    settings["vocab_size"] = 40
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens, the LLM 40 embeddings"):
        load_tokenizer(str(copy))


def test_the_files_of_weights_that_are_missing_are_named(tiny_llm: Path, tmp_path: Path) -> None:
    assert missing_weights(tiny_llm) == []
    assert missing_weights(tmp_path) == ["model*.safetensors", "pytorch_model*.bin"]
    names = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (tmp_path / names["a"]).touch()
    assert missing_weights(tmp_path) == [names["b"]]


def test_a_token_is_read_from_a_file_that_holds_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    file = tmp_path / "token"
    with pytest.raises(FileNotFoundError, match="no such file; --token_file names one"):
        use_token_file(str(file))
    file.write_text("two words\n")
    with pytest.raises(ValueError, match="2 words, expected the hub's token and nothing else"):
        use_token_file(str(file))
    monkeypatch.setenv("HF_TOKEN", "of before")
    use_token_file(None)
    assert os.environ["HF_TOKEN"] == "of before"
    file.write_text("secret\n")
    use_token_file(str(file))
    assert os.environ["HF_TOKEN"] == "secret"
