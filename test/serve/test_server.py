"""The server loads while it already answers, drains at a signal, and leaves nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from speechllama.faults import InputError
from speechllama.serve.limits import Limits
from speechllama.serve.recording import ServedModel
from speechllama.serve.server import Server
from speechllama.serve.service import Service
from test.serve.conftest import NAME, Running, tone, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of translations
WAV = ("a.wav", tone(440))


def health(url: str) -> tuple[int, str]:
    """Status of the server, by its number and in words."""
    answer = httpx.get(f"{url}/health")
    return answer.status_code, answer.json()["status"]


def test_a_signal_finishes_accepted_requests_and_refuses_new_ones(start: Callable[..., Running]) -> None:
    running = start(waits=True)
    texts: list[str] = []
    thread = threading.Thread(
        target=lambda: texts.append(running.client().audio.translations.create(file=WAV, model=NAME).text)
    )
    thread.start()
    wait_until(lambda: running.translator.batches == [1])
    assert health(running.url) == (200, "ok")
    running.server.handle_exit(signal.SIGTERM, None)
    assert health(running.url) == (503, "draining")
    with pytest.raises(openai.InternalServerError, match="the server is draining; try again later") as caught:
        running.client().audio.translations.create(file=WAV, model=NAME)
    assert caught.value.status_code == 503
    running.translator.may_go.set()
    thread.join(10)
    assert texts == ["440 Hz"]
    wait_until(lambda: running.server.should_exit)
    assert not running.server.force_exit


def test_a_second_signal_ends_the_server_at_once(start: Callable[..., Running]) -> None:
    running = start(waits=True)
    statuses: list[int] = []

    def ask() -> None:
        with pytest.raises(openai.APIError):
            running.client().audio.translations.create(file=WAV, model=NAME)
        statuses.append(0)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: running.translator.batches == [1])
    for _ in range(2):
        running.server.handle_exit(signal.SIGINT, None)
    thread.join(10)
    assert statuses == [0] and running.server.force_exit and not running.translator.may_go.is_set()


def test_the_server_says_that_it_loads_and_ends_if_it_cannot() -> None:
    may_fail = threading.Event()

    def load() -> ServedModel:
        assert may_fail.wait(10)
        raise InputError("exp/none: no trained experiment there")

    server = Server(Service(NAME, load, Limits()), "127.0.0.1", 0)
    errors: list[Exception] = []

    def serve() -> None:
        try:
            server.serve_until_ended()
        except InputError as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    assert health(server.url) == (503, "loading")
    answer = httpx.post(f"{server.url}/v1/audio/translations", files={"file": WAV}, data={"model": NAME})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
    may_fail.set()
    thread.join(10)
    assert str(errors[0]) == "exp/none: no trained experiment there"


def test_a_port_in_use_is_said(start: Callable[..., Running]) -> None:
    port = int(start().url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: .*; take another --port"):
        Server(start().service, "127.0.0.1", port)


def test_no_file_stays_whether_its_text_was_written_or_not(
    start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = start(max_recording_seconds=30)
    client = running.client()
    cases = [tone(440), tone(440, 20.0, "FLAC"), b"nothing", tone(440)[:4000], tone(440, 40.0)]  # one of over 1 MB
    num_before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        for content in cases:
            answer = client.audio.translations.with_raw_response
            try:
                answer.create(file=("a.wav", content), model=NAME)
            except openai.APIStatusError as error:
                assert error.status_code in (400, 413)
            assert list(tmp_path.iterdir()) == []
    client.close()
    wait_until(lambda: len(os.listdir("/dev/fd")) <= num_before)
