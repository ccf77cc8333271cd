"""The record of an LLM: what loading took, a folder that moves, and what the hub refuses."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechllama.hub import fingerprint
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.record import prepare_llm, read_llm_record


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


def test_a_hub_that_cannot_be_reached_is_said(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
