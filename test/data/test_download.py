"""Downloads resume where they stopped, and are whole and checked, or absent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speechllama.data.download import fetch

CONTENT = bytes(range(256)) * 4000


@dataclass
class Served:
    """What the server has and does, and the ranges that were asked of it."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"one"'
    cut_after: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    errors: list[int] = field(default_factory=list)  # statuses of the next answers
    ranges: list[str] = field(default_factory=list)


@pytest.fixture()
def served() -> Iterator[Served]:
    """A server that knows ranges and can break off."""
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.ranges.append(asked)
            if state.errors:
                self.send_error(state.errors.pop(0))
                return
            start = int(asked[6:-1]) if asked and self.headers.get("If-Range") == state.etag else 0
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/table.tsv"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def get(served: Served, path: Path) -> None:
    fetch(served.url, path, lambda part: None, wait_seconds=0.0)


def test_an_interrupted_download_resumes(served: Served, tmp_path: Path) -> None:
    served.cut_after, served.errors = [300_000, 200_000], []
    get(served, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_bytes() == CONTENT
    assert served.ranges == ["", "bytes=300000-", "bytes=500000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["table.tsv"]


def test_a_server_that_gives_up_leaves_what_arrived_for_the_next_call(served: Served, tmp_path: Path) -> None:
    served.cut_after, served.errors = [300_000], []
    served.cut_after += [0] * 4
    with pytest.raises(ValueError, match="table.tsv: 0 of 724,000 bytes arrived.*5 attempts"):
        get(served, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv.part").stat().st_size == 300_000
    get(served, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_bytes() == CONTENT and served.ranges[-1] == "bytes=300000-"


def test_a_file_that_changed_on_the_server_is_fetched_anew(served: Served, tmp_path: Path) -> None:
    served.cut_after = [300_000] + [0] * 4
    with pytest.raises(ValueError):
        get(served, tmp_path / "table.tsv")
    served.content, served.etag = CONTENT[::-1], '"two"'
    get(served, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_bytes() == CONTENT[::-1]


def test_a_whole_part_needs_no_more_bytes(served: Served, tmp_path: Path) -> None:
    served.cut_after = [300_000] + [0] * 4
    with pytest.raises(ValueError):
        get(served, tmp_path / "table.tsv")
    (tmp_path / "table.tsv.part").write_bytes(CONTENT)  # killed after the last byte
    get(served, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_bytes() == CONTENT


def test_an_overloaded_server_is_asked_again_and_a_refusal_is_final(served: Served, tmp_path: Path) -> None:
    served.errors = [503, 500]
    get(served, tmp_path / "table.tsv")
    assert len(served.ranges) == 3
    served.errors = [403]
    with pytest.raises(ValueError, match=r"the server refuses \(403 Forbidden\)"):
        get(served, tmp_path / "other.tsv")
    served.errors = [404]
    with pytest.raises(FileNotFoundError, match="the server has no such file"):
        get(served, tmp_path / "other.tsv")


def test_what_fails_its_check_is_deleted(served: Served, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise ValueError(f"{path.stat().st_size} bytes are too many")

    with pytest.raises(ValueError, match="was deleted: 1024000 bytes are too many"):
        fetch(served.url, tmp_path / "table.tsv", refuse)
    assert not (tmp_path / "table.tsv").exists() and not (tmp_path / "table.tsv.part").exists()
