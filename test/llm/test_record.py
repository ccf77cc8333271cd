"""The record of an LLM: what loading took, a folder that moves, and what the hub refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from speechllama.hub import fingerprint
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.record import prepare_llm, read_llm_record
from test.fake_hub import FakeHub


def test_a_record_inside_its_folder_can_be_moved(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llm, tmp_path / "a" / "model")
    record = prepare_llm(str(tmp_path / "a" / "model"), None, tmp_path / "a")
    assert record["path"] == "model"
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_llm_record(str(tmp_path / "b")) == (str(tmp_path / "b" / "model"), None)


def test_the_record_says_what_loading_took(tiny_llm: Path, tmp_path: Path) -> None:
    record = prepare_llm(str(tiny_llm), None, tmp_path)
    assert record["weights_gb"] == pytest.approx(2 * record["num_parameters"] / 1e9, abs=1e-3)  # bfloat16
    assert record["load_seconds"] >= 0 and record["peak_of"] == "this process"
    assert record["peak_gb"] >= 0 and record["revision"] is None


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("org/gated", None, "org/gated: its licence must be accepted: log in on its page.*HF_TOKEN"),
        ("org/typo", None, "org/typo: the hub knows no such model, or it is private: check the spelling"),
        ("org/tiny", "v9", "org/tiny: the hub has no such revision of it: give --revision a branch"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(
    hub: FakeHub, tiny_llm: Path, tmp_path: Path, name: str, revision: str | None, message: str
) -> None:
    hub.add_folder("org/tiny", tiny_llm)
    with pytest.raises(ValueError, match=message):
        prepare_llm(name, revision, tmp_path / "llm")
    with pytest.raises(ValueError, match=message):
        LLM(LLMConfig(name, revision=revision))


def test_a_hub_that_cannot_be_reached_is_said(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="not on this machine, and the hub cannot be reached: fetch it where"):
        prepare_llm("org/tiny", None, tmp_path / "llm")


def test_a_hub_model_is_pinned_to_the_commit_that_was_checked(hub: FakeHub, tiny_llm: Path, tmp_path: Path) -> None:
    commit = hub.add_folder("org/tiny", tiny_llm)
    record = prepare_llm("org/tiny", "main", tmp_path / "llm")
    assert (record["path"], record["revision"]) == ("org/tiny", commit)
    assert record["fingerprint"] == fingerprint(str(tiny_llm)).hex()
    # Later stages ask for the commit, which is in the cache: the branch may move, the licence be withdrawn.
    hub.pages.clear()
    LLM(LLMConfig(*read_llm_record(str(tmp_path / "llm"))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "llm.json:1: not JSON"),
        (b"\xff", "llm.json: not UTF-8"),
        (b"{}", "llm.json: no path of an LLM there"),
        (b'{"path": "model", "revision": 5}', "llm.json: no path of an LLM there"),
    ],
)
def test_a_damaged_record_is_refused_with_its_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "llm.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_llm_record(str(tmp_path))


def test_damaged_settings_of_generation_are_refused_with_their_file(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llm, tmp_path / "llm")
    (tmp_path / "llm/generation_config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"llm/generation_config.json: transformers cannot read it"):
        load_tokenizer(str(tmp_path / "llm"))
