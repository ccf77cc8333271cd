"""What the tests of serving share: a translator that hears tones, and a server on loopback."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import numpy as np
import openai
import pytest
import soundfile
import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.segmenter import CutConfig
from speechllama.decode.speech2text import Speech2Text, Translation
from speechllama.faults import InputError
from speechllama.serve.limits import Limits
from speechllama.serve.recording import ServedModel
from speechllama.serve.server import Server
from speechllama.serve.service import Service

NAME = "tones"
BROKEN = 666  # hertz of a tone on which decoding fails
ENDLESS = 770  # hertz of a tone whose text ends at the limit of tokens
LOSES_GPU = 550  # hertz of a tone after which every call to the GPU fails
REFUSED = 888  # hertz of a tone that decoding refuses, as it does what is too short or too large for memory


@dataclass
class Tones:
    """Has the interface of Speech2Text, and writes the pitch of a tone: "440 Hz"; nothing of silence."""

    settings: dict[str, Any] = field(default_factory=lambda: {"task_name": "st"})
    config: SearchConfig = SearchConfig(max_tokens=1)
    batches: list[int] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    languages: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    may_go: threading.Event = field(default_factory=threading.Event)
    has_gpu: bool = True

    def batch(
        self, waveforms: Sequence[np.ndarray], languages: Sequence[str], targets: Sequence[str], tasks: Sequence[str]
    ) -> list[list[Translation]]:
        self.batches.append(len(waveforms))
        self.languages.update(languages)
        self.targets.update(targets)
        self.tasks.update(tasks)
        assert self.may_go.wait(30)
        return [self.listen(waveform) for waveform in waveforms]

    def check_language(self, language: str) -> None:
        if self.settings.get("needs_language") and not language:
            raise InputError("the prompt needs a language")

    def listen(self, waveform: np.ndarray) -> list[Translation]:
        if np.abs(waveform).max() < 1e-3:
            return []
        pitch = round(int(np.abs(np.fft.rfft(waveform)).argmax()) * SAMPLE_RATE / len(waveform))
        if pitch == BROKEN:
            raise RuntimeError("no kernel for this shape")
        self.has_gpu = self.has_gpu and pitch != LOSES_GPU
        if not self.has_gpu:
            raise lost_gpu("device-side assert triggered")
        if pitch == REFUSED:
            raise InputError("0.5 s of audio is too short for a frame")
        return [Translation(f"{pitch} Hz", [pitch], -0.5, is_cut=pitch == ENDLESS)]


def lost_gpu(what: str) -> Exception:
    """What torch raises of the GPU; releases without a class of such errors raise a plain one."""
    kind: type[Exception] = getattr(torch, "AcceleratorError", RuntimeError)
    return kind(f"CUDA error: {what}\nCUDA kernel errors might be asynchronously reported")


def tone(pitch: int, seconds: float = 0.5, container: str = "WAV") -> bytes:
    """A file with a tone; pitch 0 is silence."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    output = io.BytesIO()
    soundfile.write(output, 0.3 * np.sin(2 * np.pi * pitch * times), SAMPLE_RATE, format=container)
    return output.getvalue()


@contextlib.contextmanager
def serving(service: Service) -> Iterator[Server]:
    """Run a server in a thread until its model is loaded; at the end it drains, as after a signal."""
    server = Server(service, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_until_ended)
    thread.start()
    try:
        while service.state == "loading":
            thread.join(0.01)
        yield server
    finally:
        service.drain()
        thread.join(30)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Running:
    """A server in work: its translator, its address, and OpenAI's client to it."""

    translator: Tones
    server: Server

    @property
    def service(self) -> Service:
        return self.server.service

    @property
    def url(self) -> str:
        return self.server.url

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)


@contextlib.contextmanager
def running_tones(
    waits: bool = False, api_key: str = "", settings: dict[str, Any] | None = None, **limits: Any
) -> Iterator[Running]:
    """Run a server of tones.

    Args:
        waits: Whether it decodes nothing before `may_go` is set.
        api_key: As of Service.
        settings: Of the translator's experiment, in addition to its task, translation.
        limits: Fields of Limits.
    """
    translator = Tones({"task_name": "st", **(settings or {})})
    if not waits:
        translator.may_go.set()
    model = ServedModel(cast("Speech2Text", translator), CutConfig(segmentation="even", max_seconds=2.0))
    with serving(Service(NAME, lambda: model, Limits(**limits), api_key)) as server:
        try:
            yield Running(translator, server)
        finally:
            translator.may_go.set()  # after a test that failed, nothing may wait


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start servers; arguments as of `running_tones`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(running_tones(**options))


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A server of translations, for tests that only ask it."""
    with running_tones() as running:
        yield running


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does, ten seconds at most."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def error_of(caught: pytest.ExceptionInfo[openai.APIStatusError]) -> tuple[int, str | None, str | None]:
    """Status, param and code of an error."""
    return caught.value.status_code, caught.value.param, caught.value.code


def fetch(url: str) -> tuple[int, Any]:
    """Status and JSON of a page."""
    answer = httpx.get(url)
    return answer.status_code, answer.json()


def form(*parts: tuple[str, bytes]) -> bytes:
    """A body of parts with their headers."""
    lines = [f"--x\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + value for name, value in parts]
    return b"\r\n".join([*lines, b"--x--\r\n"])


def post(url: str, body: bytes | Iterator[bytes], kind: str) -> tuple[int, Any]:
    """Send a body that OpenAI's client would not."""
    answer = httpx.post(f"{url}/v1/audio/translations", content=body, headers={"Content-Type": kind})
    return answer.status_code, answer.json()["error"]
