"""A server whose GPU is lost says so, decodes nothing more, and ends, so that it is started again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, cast

import httpx
import pytest
import torch

from speechllama.decode.segmenter import CutConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.serve.limits import Limits
from speechllama.serve.lost_gpu import is_lost_gpu
from speechllama.serve.recording import ServedModel
from speechllama.serve.server import Server
from speechllama.serve.service import Service
from test.serve.conftest import LOSES_GPU, NAME, Tones, fetch, form, lost_gpu, post, tone, wait_until

KIND = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (lost_gpu("an illegal memory access was encountered"), True),
        (lost_gpu("out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (RuntimeError("no kernel for this shape"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasGemmEx"), False),
    ],
)
def test_a_lost_gpu_is_told_from_a_full_one(error: Exception, is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_lost_gpu(error) == is_lost
    monkeypatch.setattr("speechllama.serve.lost_gpu.ACCELERATOR_ERROR", None)  # releases that raise a plain one
    assert is_lost_gpu(error) == is_lost


def body_of(pitch: int) -> bytes:
    """A request to translate a tone."""
    return form(('name="file"; filename="a.wav"', tone(pitch)), ('name="model"', NAME.encode()))


class SlowUpload:
    """A request whose last bytes are held back."""

    def __init__(self) -> None:
        self.may_go, self.has_begun = threading.Event(), threading.Event()

    def send(self, url: str) -> tuple[int, str]:
        status, error = post(url, self._body(), KIND)
        return status, error["code"]

    def _body(self) -> Iterator[bytes]:
        whole = body_of(440)
        yield whole[:-10]
        self.has_begun.set()
        assert self.may_go.wait(30)
        yield whole[-10:]


class Run(NamedTuple):
    """A server in work, with a request whose last bytes are held back."""

    server: Server
    translator: Tones
    slow: SlowUpload
    pool: ThreadPoolExecutor
    ended: Future[int]


@pytest.fixture
def run() -> Iterator[Run]:
    """A server of tones that decodes one piece at a time; after a test that failed, it is made to end."""
    translator, slow = Tones(), SlowUpload()
    model = ServedModel(cast("Speech2Text", translator), CutConfig(segmentation="even", max_seconds=2.0))
    server = Server(Service(NAME, lambda: model, Limits(batch_size=1)), "127.0.0.1", 0)
    with ThreadPoolExecutor(4) as pool:
        ended = pool.submit(server.serve_until_ended)
        try:
            wait_until(lambda: server.service.state == "ok")
            yield Run(server, translator, slow, pool, ended)
        finally:
            translator.may_go.set()
            slow.may_go.set()
            server.should_exit = server.force_exit = True


def test_without_its_gpu_the_server_refuses_all_requests_and_ends_with_status_1(run: Run) -> None:
    url = run.server.url

    def ask(pitch: int) -> tuple[int, str]:
        status, error = post(url, body_of(pitch), KIND)
        assert error["message"] == "the server has lost its GPU, and ends; try again later"
        return status, error["code"]

    broken = run.pool.submit(ask, LOSES_GPU)
    wait_until(lambda: run.translator.batches == [1])
    waiting, uploading = run.pool.submit(ask, 440), run.pool.submit(run.slow.send, url)
    wait_until(lambda: run.server.service.num_active == 3)
    run.translator.may_go.set()
    assert broken.result(10) == waiting.result(10) == (503, "failed")
    health = fetch(f"{url}/health")  # the upload keeps the server up for a while
    assert (health[0], health[1]["status"]) == (503, "failed")
    assert ask(440) == (503, "failed")
    run.slow.may_go.set()
    assert uploading.result(10) == (503, "failed")
    assert run.ended.result(10) == 1
    assert run.translator.batches == [1], "a call to the GPU would only fail again"


def test_without_its_gpu_the_server_does_not_wait_for_a_slow_upload(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechllama.serve.server.FAILED_SECONDS", 0.2)
    run.translator.may_go.set()
    uploading = run.pool.submit(run.slow.send, run.server.url)
    wait_until(lambda: run.server.service.num_active == 1)
    assert post(run.server.url, body_of(LOSES_GPU), KIND)[0] == 503
    assert run.ended.result(10) == 1
    run.slow.may_go.set()
    assert isinstance(uploading.exception(10), httpx.HTTPError)
