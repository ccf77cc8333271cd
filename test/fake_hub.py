"""A hub on loopback: what huggingface_hub asks of the real one to read a model, and to put one there.

GET, HEAD <- pages and files; POST, PUT -> a new page, its files (small ones in the commit, weights by LFS), a tag
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

GATED = "org/gated"  # a model whose licence has not been accepted
BY_LFS = (".safetensors", ".npz", ".model")


class FakeHub:
    """Pages with their commits.

    Attributes:
        pages: Name -> commit -> files.
        names: (Name, branch or tag) -> commit.
        address: Where it answers.
        tokens: Tokens that came with what wrote something.
    """

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, dict[str, bytes]]] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.blobs: dict[str, bytes] = {}
        self.address = ""
        self.tokens: list[str] = []

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """Commit files to the main branch of a page -> the commit."""
        content = repr(sorted((path, hashlib.sha1(data).digest()) for path, data in files.items()))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.pages.setdefault(name, {})[commit] = dict(files)
        self.names[name, "main"] = commit
        return commit

    def add_folder(self, name: str, folder: Path) -> str:
        """Commit a folder -> the commit."""
        files = (path for path in folder.rglob("*") if path.is_file())
        return self.add(name, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files})

    def find(self, name: str, revision: str) -> str | None:
        """The commit that a branch, a tag or itself names."""
        commit = self.names.get((name, revision), revision)
        return commit if commit in self.pages.get(name, {}) else None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers of the hub."""

    hub: FakeHub

    def do_GET(self) -> None:
        self.read(with_body=True)

    def do_HEAD(self) -> None:
        self.read(with_body=False)

    def read(self, with_body: bool) -> None:
        words = self.path.partition("?")[0].strip("/").replace("%2F", "/").split("/")
        is_api = words[:2] == ["api", "models"]
        name = "/".join(words[2:4] if is_api else words[:2])
        rest = words[4:] if is_api else words[2:]
        if name == GATED:
            return self.reply(403, error="GatedRepo")
        if name not in self.hub.pages:
            return self.reply(404, error="RepoNotFound")
        if is_api and rest == ["refs"]:
            named = {label: at for (page, label), at in self.hub.names.items() if page == name and label != "main"}
            tags = [{"name": label, "ref": f"refs/tags/{label}", "targetCommit": at} for label, at in named.items()]
            return self.reply(200, value={"branches": [], "converts": [], "tags": tags})
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self.hub.find(name, revision)
        if commit is None:
            return self.reply(404, error="RevisionNotFound")
        files = self.hub.pages[name][commit]
        if not is_api:
            return self.reply_file(files.get("/".join(rest[2:])), commit, with_body)
        if rest[:1] == ["tree"]:
            below = "/".join(rest[2:])
            found = {path: data for path, data in files.items() if path.startswith(f"{below}/" if below else "")}
            return (
                self.reply(200, value=[self.entry(*item) for item in found.items()])
                if found
                else self.reply(404, error="EntryNotFound")
            )
        siblings = [{"rfilename": path} for path in files]
        card = yaml.safe_load(files.get("README.md", b"").decode().partition("---\n")[2].partition("---\n")[0] or "{}")
        about = {"id": name, "sha": commit, "siblings": siblings, "private": False, "cardData": card}
        return self.reply(200, value=about)

    @staticmethod
    def entry(path: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if path.endswith(BY_LFS):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def reply_file(self, data: bytes | None, commit: str, with_body: bool) -> None:
        if data is None:
            return self.reply(404, error="EntryNotFound", commit=commit)
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        words = self.path.partition("?")[0].strip("/").split("/")
        if self.hub.tokens[-1] != "Bearer hf_good":
            return self.reply(401, error="")
        if words == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known = name in self.hub.pages
            if not known:
                self.hub.add(name, {".gitattributes": b""})
            return self.reply(409 if known else 200, value={"url": f"{self.hub.address}/{name}"})
        if words[-3:] == ["lfs", "objects", "batch"]:
            objects = [self.upload(entry) for entry in json.loads(body)["objects"]]
            return self.reply(200, value={"transfer": "basic", "objects": objects})
        if words == ["api", "validate-yaml"]:
            return self.reply(200, value={"errors": [], "warnings": []})
        name = "/".join(words[2:4])
        if words[4] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(BY_LFS) else "regular"}
                for file in json.loads(body)["files"]
            ]
            return self.reply(200, value={"files": [{**file, "shouldIgnore": False} for file in files]})
        if words[4] == "tag":
            self.hub.names[name, json.loads(body)["tag"]] = self.hub.names[name, words[5]]
            return self.reply(200, value={})
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def upload(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "actions": {"upload": {"href": f"{self.hub.address}/upload/{entry['oid']}", "header": {}}}}

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.blobs[hashlib.sha256(data).hexdigest()] = data
        self.reply(200, value={})

    def commit(self, name: str, operations: list[dict[str, Any]]) -> None:
        files = dict(self.hub.pages[name].get(self.hub.names.get((name, "main"), ""), {}))
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.add(name, files)
        self.reply(200, value={"commitOid": commit, "commitUrl": f"{self.hub.address}/{name}/commit/{commit}"})

    def reply(self, status: int, value: Any = None, error: str | None = None, commit: str = "") -> None:
        body = json.dumps(value if value is not None else {"error": error}).encode()
        self.send_response(status)
        for header, content in (("X-Error-Code", error), ("X-Repo-Commit", commit)):
            if content:
                self.send_header(header, content)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serve_hub(monkeypatch: Any, cache: Path) -> Iterator[FakeHub]:
    """Run a hub, and let huggingface_hub and transformers know no other.

    Args:
        monkeypatch: pytest's.
        cache: What is fetched goes there.
    """
    from huggingface_hub import constants

    hub = FakeHub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = hub.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    # Newer releases keep a client with the address that it was first used with.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
