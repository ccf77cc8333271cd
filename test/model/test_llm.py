"""The LLM's door: what trains, dtype kept, adapters, fingerprints, refusals, and the trained stories260K."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllama.model.llm import LLM
from speechllama.model.llm_config import LLMConfig, LoRAConfig
from speechllama.model.llm_files import fingerprint, load_tokenizer, missing_weights, use_token_file
from speechllama.model.llm_loading import check_quantization, choose_dtype
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


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantised_llm_is_refused_without_a_gpu_or_without_its_package(
    quantize: Any, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LLMConfig(str(tiny_llm), quantize=quantize)
    with pytest.raises(ValueError, match=f"quantize {quantize} needs an NVIDIA GPU: give --ngpu 1"):
        LLM(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"quantize {quantize} needs the package bitsandbytes: pip install"):
        check_quantization(config, "cuda")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(tiny_llm: Path, dtype: str) -> None:
    results, saved = [], []
    for again in (False, True):
        torch.manual_seed(1)  # of the adapters
        llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype=dtype, gradient_checkpointing=again)).train()
        lengths, tokens = torch.tensor([4]), torch.tensor([[1, 5, 9, 12]])
        embeddings = llm.embed(tokens).detach().requires_grad_()
        mask = additive(visible(lengths, 4, 0, "non_causal"), llm.base_dtype)
        kept: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, kept: list[torch.Tensor] = kept) -> torch.Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = llm(embeddings, mask, position_ids(lengths, 4, 0), num_logits=2)
        logits.float().square().sum().backward()
        assert embeddings.grad is not None
        adapters = [weight.grad for weight in llm.parameters() if weight.requires_grad]
        results.append([logits.detach(), embeddings.grad, *adapters])
        saved.append(len(kept))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)
    assert saved[1] < saved[0] / 3


def test_adapters_of_a_bfloat16_llm_keep_no_float32_copy_of_their_input(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype="bfloat16")).train()
    width = 7  # columns; no size of the LLM
    lengths = torch.tensor([width])
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    embeddings = llm.embed(torch.arange(width)[None]).detach().requires_grad_()
    mask = additive(visible(lengths, width, 0, "causal"), llm.base_dtype)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        llm(embeddings, mask, position_ids(lengths, width, 0), num_logits=1)
    wide = {id(kind): kind for kind in kept if kind.dtype == torch.float32 and kind.numel() >= width * llm.dim}
    # What is left are the inputs of the norms, which transformers computes in float32: two a layer and the last.
    assert len({tensor.untyped_storage().data_ptr() for tensor in wide.values()}) <= 2 * 2 + 1


def test_the_record_says_what_loading_took(tiny_llm: Path, tmp_path: Path) -> None:
    record = prepare_llm(str(tiny_llm), None, tmp_path)
    assert record["weights_gb"] == pytest.approx(2 * record["num_parameters"] / 1e9, abs=1e-3)  # bfloat16
    assert record["load_seconds"] >= 0 and record["peak_of"] == "this process"
    assert record["peak_gb"] >= 0 and record["revision"] is None


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


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's answers for org/tiny (a model), org/gated (licence not accepted), and whatever else (unknown)."""

    folder: Path

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        words = self.path.partition("?")[0].split("/")
        if words[1:5] == ["api", "models", "org", "tiny"] and words[6:7] not in ([], ["main"], [COMMIT]):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        elif self.path.startswith("/api/models/org/tiny/tree/"):  # what lies in a subfolder
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
        elif self.path.startswith("/api/models/org/tiny"):
            names = [{"rfilename": file.name} for file in self.folder.iterdir()]
            self.reply(200, {}, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": names}).encode(), with_body)
        elif self.path.startswith("/org/gated"):
            self.reply(403, {"X-Error-Code": "GatedRepo"})
        elif not self.path.startswith("/org/tiny"):
            self.reply(404, {"X-Error-Code": "RepoNotFound"})
        elif self.path.split("/")[4] not in ("main", COMMIT):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        elif not (file := self.folder / self.path.split("/")[5]).is_file():
            self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            etag = f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"'
            self.reply(200, {"ETag": etag, "X-Repo-Commit": COMMIT}, file.read_bytes(), with_body)

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"", with_body: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on this machine; its address."""
    from huggingface_hub import constants

    Hub.folder = tiny_llm
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    # Newer releases keep a client with the address that it was first used with.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield address
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("org/gated", None, "org/gated: its licence must be accepted: log in on its page.*HF_TOKEN"),
        ("org/typo", None, "org/typo: the hub knows no such model, or it is private: check the spelling"),
        ("org/tiny", "v9", "org/tiny: the hub has no such revision of it: give --revision a branch"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(
    hub: str, tmp_path: Path, name: str, revision: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_llm(name, revision, tmp_path / "llm")
    with pytest.raises(ValueError, match=message):
        LLM(LLMConfig(name, revision=revision))


def test_a_hub_that_cannot_be_reached_is_said(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="not on this machine, and the hub cannot be reached: fetch it where"):
        prepare_llm("org/tiny", None, tmp_path / "llm")


def test_a_hub_model_is_pinned_to_the_commit_that_was_checked(hub: str, tiny_llm: Path, tmp_path: Path) -> None:
    record = prepare_llm("org/tiny", "main", tmp_path / "llm")
    assert (record["path"], record["revision"]) == ("org/tiny", COMMIT)
    assert record["fingerprint"] == fingerprint(str(tiny_llm)).hex()
    # Later stages ask for the commit, which is in the cache: the branch may move, the licence be withdrawn.
    Hub.folder = tmp_path
    LLM(LLMConfig(*read_llm_record(str(tmp_path / "llm"))))
