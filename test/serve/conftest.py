"""What the tests of serving share: a translator that hears tones, and a server on loopback."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openai
import pytest
import soundfile

from speechllama.constants import SAMPLE_RATE
from speechllama.decode.long import LongConfig
from speechllama.decode.speech2text import Translation
from speechllama.faults import InputError
from speechllama.serve.limits import Limits
from speechllama.serve.recording import ServedModel
from speechllama.serve.server import Server
from speechllama.serve.service import Service

NAME = "tones"
BROKEN = 666  # hertz of a tone on which decoding fails


@dataclass
class Tones:
    """Has the interface of Speech2Text, and writes the pitch of a tone: "440 Hz"; nothing of silence."""

    settings: dict[str, Any] = field(default_factory=lambda: {"task_name": "st"})
    batches: list[int] = field(default_factory=list)
    may_go: threading.Event = field(default_factory=threading.Event)

    def batch(self, waveforms: Sequence[np.ndarray], languages: Sequence[str]) -> list[list[Translation]]:
        self.batches.append(len(waveforms))
        assert self.may_go.wait(30)
        return [self.listen(waveform) for waveform in waveforms]

    def check_language(self, language: str) -> None:
        if language == "xx":
            raise InputError("unknown language 'xx'")

    @staticmethod
    def listen(waveform: np.ndarray) -> list[Translation]:
        if np.abs(waveform).max() < 1e-3:
            return []
        pitch = round(int(np.abs(np.fft.rfft(waveform)).argmax()) * SAMPLE_RATE / len(waveform))
        if pitch == BROKEN:
            raise RuntimeError("no kernel for this shape")
        return [Translation(f"{pitch} Hz", [pitch], -0.5)]


def tone(pitch: int, seconds: float = 0.5, container: str = "WAV") -> bytes:
    """A file with a tone; pitch 0 is silence."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    output = io.BytesIO()
    soundfile.write(output, 0.3 * np.sin(2 * np.pi * pitch * times), SAMPLE_RATE, format=container)
    return output.getvalue()


@contextlib.contextmanager
def serving(service: Service) -> Iterator[str]:
    """Run a server in a thread; its address. At the end it drains, as after a signal."""
    server = Server(service, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_until_ended)
    thread.start()
    try:
        while service.state == "loading" and service.failure is None:
            thread.join(0.01)
        yield server.url
    finally:
        service.drain()
        thread.join(30)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Running:
    """A server in work: its translator, its address, and OpenAI's client to it."""

    translator: Tones
    service: Service
    url: str

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start a server of tones, with limits by name."""
    with contextlib.ExitStack() as stack:

        def start_server(task: str = "st", api_key: str = "", waits: bool = False, **limits: Any) -> Running:
            translator = Tones({"task_name": task})
            stack.callback(translator.may_go.set)  # a test that fails must not wait
            if not waits:
                translator.may_go.set()
            model = ServedModel(translator, LongConfig(segmentation="even", max_seconds=2.0))
            service = Service(NAME, lambda: model, Limits(**limits), api_key)
            running = Running(translator, service, stack.enter_context(serving(service)))
            stack.callback(translator.may_go.set)
            return running

        yield start_server


@pytest.fixture
def server(start: Callable[..., Running]) -> Running:
    """A server of translations."""
    return start()
