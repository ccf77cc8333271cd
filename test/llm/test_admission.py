"""Any LLM is admitted, admitted for causal systems only, or refused with what it does wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama import modeling_llama

from speechllama.llm.admission import ROUGH_TOLERANCE, TOLERANCE, Trial, admit, check_text, narrow
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.record import check_admission, prepare_llm
from speechllama.llm.shallow import shorten
from speechllama.model.build import speech_llama_config
from test.llm.families import BOTH, FAMILIES, HEADS, SLIDING, Family, find


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> Any:
    """A tokenizer from which texts come back."""
    return load_tokenizer(str(tiny_llm))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.model_type} {family.variant}".strip())
def test_a_family_is_admitted_or_refused_with_the_reason(family: Family, tokenizer: Any) -> None:
    def admitted() -> Any:
        return admit(LLM(LLMConfig("tiny"), model=family.build()), tokenizer)

    if family.verdict == BOTH:
        admission = admitted()
        assert admission.prefix_masks == ("causal", "non_causal")
        assert admission.entries()["admission_deviation"] < TOLERANCE / 100  # rounding makes 1e-6
    elif family.verdict.startswith("causal: "):
        admission = admitted()
        assert admission.prefix_masks == ("causal",)
        pytest.raises(ValueError, _fail, admission.causal_only).match(family.verdict.removeprefix("causal: "))
    else:
        with pytest.raises(ValueError, match=family.verdict):
            admitted()


def _fail(message: str) -> None:
    raise ValueError(message)


def test_the_table_has_every_verdict() -> None:
    verdicts = [family.verdict for family in FAMILIES]
    assert len(verdicts) >= 70
    assert sum(verdict == BOTH for verdict in verdicts) >= 45
    assert sum(verdict.startswith("causal: ") for verdict in verdicts) == 1


def test_weights_that_are_no_numbers_and_rows_that_read_each_other_are_refused(tokenizer: Any) -> None:
    llama = find("llama")
    broken = llama.build()
    broken.lm_head.weight.data[3, 3] = float("nan")
    with pytest.raises(ValueError, match="tiny: LlamaForCausalLM is refused: .* they differ by nan, of logits up to"):
        admit(LLM(LLMConfig("tiny"), model=broken), tokenizer)
    mixing = llama.build()
    mixing.model.norm.register_forward_hook(
        lambda *given: given[2] - given[2].mean(0, keepdim=True) * (len(given[2]) > 1)
    )
    with pytest.raises(ValueError, match="a batch must give the logits of its members, but they differ by"):
        admit(LLM(LLMConfig("tiny"), model=mixing), tokenizer)


def test_too_little_memory_is_no_property_of_an_llm(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    model = find("llama").build()
    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        admit(LLM(LLMConfig("tiny"), model=model), tokenizer)


def test_a_quantised_checkpoint_is_tested_in_its_own_precision(tokenizer: Any) -> None:
    for name, expected in (("llama", True), ("qwen3_next", False)):
        model = find(name).build().bfloat16()
        model.is_quantized = True  # transformers then refuses to make it float32
        llm = LLM(LLMConfig("tiny"), model=model)
        if expected:
            assert 1e-4 < admit(llm, tokenizer).deviation < ROUGH_TOLERANCE
        else:
            with pytest.raises(ValueError, match="a padded prefix must give the logits of an unpadded one, but"):
                admit(llm, tokenizer)


def test_windows_and_chunks_are_narrowed_to_be_tested() -> None:
    config = Family("gemma3_text", {**SLIDING, "sliding_window": 512}).config()
    narrow(config)
    assert config.sliding_window == 8 < Trial(LLM(LLMConfig("tiny"), model=find("llama").build())).num_prefix


# What goes wrong if windows are dropped, as they once were: the issue says 1.6 for such a Mistral.
def test_a_dropped_window_would_be_noticed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechllama.llm.attention._narrow", lambda config, kind, seen, positions: seen)
    for name in ("mistral", "gemma3_text", "llama4_text"):
        with pytest.raises(
            ValueError, match="logits from embeddings must be its own from token ids, but they differ by"
        ):
            admit(LLM(LLMConfig("tiny"), model=find(name).build()), tokenizer)


def test_a_large_llm_keeps_a_layer_of_each_kind(tokenizer: Any) -> None:
    kinds = (["sliding_attention"] * 2 + ["full_attention"]) * 3
    model = Family("gemma3_text", {**SLIDING, "num_hidden_layers": 9, "layer_types": kinds}).build()
    whole = [layer.self_attn.q_proj.weight for layer in model.model.layers]
    assert shorten(model) == 9
    assert shorten(model, max_weights=1000) == 3
    kept = [layer.self_attn.q_proj.weight for layer in model.model.layers]
    assert [id(weight) for weight in kept] == [id(weight) for weight in whole[:3]]
    admission = admit(LLM(LLMConfig("tiny"), model=model), tokenizer)
    assert admission.num_layers == 3 and admission.prefix_masks == ("causal", "non_causal")
    same = Family("llama", {**HEADS, "num_hidden_layers": 6}).build()
    assert shorten(same, max_weights=1000) == 2


def save(family: Family, folder: Path, tiny_llm: Path) -> str:
    """Write an LLM next to the tokenizer of the tests' LLaMA."""
    shutil.copytree(tiny_llm, folder)
    (folder / "model.safetensors").unlink()
    model = family.build()
    model.config.eos_token_id = model.generation_config.eos_token_id = load_tokenizer(str(tiny_llm)).eos_token_id
    model.save_pretrained(folder)
    return str(folder)


def test_the_record_says_what_an_llm_is_admitted_for(tiny_llm: Path, tmp_path: Path) -> None:
    record = prepare_llm(str(tiny_llm), None, tmp_path / "llama")
    assert (record["prefix_masks"], record["attention"]) == (["causal", "non_causal"], "sdpa")
    assert record["admission_layers"] == 2 and "causal_only" not in record
    assert record["eager"]["prefix_masks"] == ["causal", "non_causal"]
    record = prepare_llm(save(find("xglm"), tmp_path / "xglm", tiny_llm), None, tmp_path / "exp")
    assert record["attention"] == "eager" and "eager" not in record


def test_a_non_causal_system_of_a_causal_llm_is_refused_with_the_reason(
    tiny_llm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(find("gpt_neo", "global"), tmp_path / "neo", tiny_llm)
    prepare_llm(path, None, tmp_path / "llm")
    assert "is admitted for systems with prefix_mask: causal only: the prefix must see itself" in caplog.text
    settings = {"llm_dir": str(tmp_path / "llm"), "prefix_mask": "non_causal"}
    reason = "e5.yaml: prefix_mask: non_causal, but .*llm.json admits .*neo for causal only, since the prefix must see"
    with pytest.raises(ValueError, match=reason):
        speech_llama_config(settings, "e5.yaml")
    assert speech_llama_config({**settings, "prefix_mask": "causal"}, "e3.yaml").prefix_mask == "causal"


def test_another_attention_than_the_tested_one_needs_a_test_of_its_own(
    tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_llm(str(tiny_llm), None, tmp_path)
    settings = {"llm_dir": str(tmp_path), "prefix_mask": "non_causal", "llm_conf": {"attention": "eager"}}
    assert speech_llama_config(settings, "e5.yaml").llm.attention == "eager"
    own = modeling_llama.eager_attention_forward

    def without_mask(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
        return own(module, query, key, value, None, **more)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", without_mask)
    prepare_llm(str(tiny_llm), None, tmp_path)
    with pytest.raises(ValueError, match=r"e5.yaml: attention: eager, but .*llm.json does not admit .* with it: "):
        speech_llama_config(settings, "e5.yaml")
    assert speech_llama_config({**settings, "llm_conf": {}}, "e5.yaml").llm.attention == "auto"
    record = json.loads((tmp_path / "llm.json").read_text())
    del record["eager"]
    (tmp_path / "llm.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="stage llm did not test LlamaForCausalLM with it; run it again"):
        speech_llama_config(settings, "e5.yaml")


def test_a_record_from_before_admission_allows_every_mask(tmp_path: Path) -> None:
    (tmp_path / "llm.json").write_text(json.dumps({"path": "llama", "revision": None}))
    check_admission(str(tmp_path), "non_causal", "eager")


def test_an_llm_that_is_refused_leaves_no_record(tiny_llm: Path, tmp_path: Path) -> None:
    path = save(find("lfm2"), tmp_path / "lfm2", tiny_llm)
    with pytest.raises(
        ValueError, match="lfm2: Lfm2ForCausalLM is refused: a padded prefix must give .*Choose another"
    ):
        prepare_llm(path, None, tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_a_tokenizer_that_loses_the_spaces_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    path = save(find("qwen2"), tmp_path / "qwen", tiny_llm)
    with pytest.raises(ValueError, match="qwen: its tokenizer does not keep a text: .* comes back as 'Thedog"):
        prepare_llm(path, None, tmp_path / "llm")


class Letters:
    """A tokenizer of single letters; what it does not have is unknown."""

    bos_token_id, unk_token_id, all_special_ids, all_special_tokens = None, 0, (0,), ("<unk>",)

    def __init__(self, letters: str, decode: Callable[[str], str] = str) -> None:
        self.letters, self.change = " " + letters, decode

    def __call__(self, text: str, **_: object) -> Any:
        return type("Encoded", (), {"input_ids": [self.letters.find(letter) + 1 for letter in text]})

    def decode(self, ids: list[int], **_: object) -> str:
        return self.change("".join(self.letters[index - 1] for index in ids if index))


def test_words_with_unknown_letters_are_left_out_of_the_text() -> None:
    check_text(Letters("Thedogslp"), "tiny")  # The dog sleeps
    with pytest.raises(ValueError, match="tiny: its tokenizer does not keep a text: 'The dog' comes back as 'the dog'"):
        check_text(Letters("Thedog", str.lower), "tiny")
    with pytest.raises(ValueError, match="does not keep a text: 'The' comes back as 'The'"):
        check_text(Letters("The"), "tiny")
