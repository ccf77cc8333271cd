"""What the server refuses to take, and what it does when many clients come at once or leave."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from test.serve.conftest import BROKEN, NAME, Running, error_of, fetch, form, post, tone, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of translations
Start = Callable[..., Running]
WAV = ("a.wav", tone(440))


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_is_refused_as_soon_as_it_is_too_large(start: Start, is_chunked: bool) -> None:
    body = form(('name="model"', b"tones"), ('name="file"; filename="a.wav"', tone(440, 200.0)))  # 6.4 MB
    content = iter_chunks(body) if is_chunked else body
    status, error = post(start(max_megabytes=0.5).url, content, "multipart/form-data; boundary=x")
    assert (status, error["param"], error["code"]) == (413, "file", "file_too_large")
    assert "larger than 0.5 MB" in error["message"]


def iter_chunks(body: bytes) -> Iterator[bytes]:
    """A body without a length in its header."""
    stream = io.BytesIO(body)
    return iter(lambda: stream.read(65536), b"")


def test_a_file_that_is_a_little_too_large_is_refused(start: Start) -> None:
    with pytest.raises(openai.APIStatusError, match="larger than 0.015 MB"):  # within what a form may add
        start(max_megabytes=0.015).client().audio.translations.create(file=WAV, model=NAME)


def test_a_recording_that_is_too_long_is_refused(start: Start) -> None:
    with pytest.raises(openai.APIStatusError, match="a.wav has 0.5 s, more than 0.4 s; cut it into parts") as caught:
        start(max_recording_seconds=0.4).client().audio.translations.create(file=WAV, model=NAME)
    assert error_of(caught) == (413, "file", "recording_too_long")


def test_more_than_the_queue_is_told_to_come_again(start: Start) -> None:
    running = start(waits=True, max_queue=2)
    texts: list[str] = []

    def ask() -> None:
        texts.append(running.client().audio.translations.create(file=WAV, model=NAME).text)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: running.service.num_active == 2)
    assert fetch(f"{running.url}/health")[1]["queue_length"] == 2
    with pytest.raises(openai.APIStatusError, match="the queue of 2 requests is full") as caught:
        running.client().audio.translations.create(file=WAV, model=NAME)
    assert caught.value.status_code == 503 and int(caught.value.response.headers["retry-after"]) > 0
    running.translator.may_go.set()
    for thread in threads:
        thread.join(10)
    assert texts == ["440 Hz"] * 2 and running.service.num_active == 0


def test_a_request_that_takes_too_long_is_dropped(start: Start) -> None:
    running = start(waits=True, request_seconds=0.5, max_wait_ms=1.0)
    with pytest.raises(openai.APIStatusError, match="no answer within 0.5 s") as caught:
        running.client().audio.translations.create(file=("a.wav", tone(440, 60.0)), model=NAME)
    assert error_of(caught) == (504, None, "timeout")
    assert running.service.num_active == 0
    running.translator.may_go.set()
    assert running.client().audio.translations.create(file=WAV, model=NAME).text == "440 Hz"
    assert running.translator.batches == [8, 1]  # the other pieces of the minute were not decoded


def test_the_work_of_a_client_that_leaves_is_dropped(start: Start) -> None:
    running = start(waits=True, max_wait_ms=1.0)
    body = form(('name="model"', b"tones"), ('name="file"; filename="a.wav"', tone(440, 60.0)))
    head = f"POST /v1/audio/translations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body)
        wait_until(lambda: running.translator.batches == [8])
    wait_until(lambda: running.service.num_active == 0)
    with socket.create_connection((host, int(port))) as client:  # this one leaves while it uploads
        client.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body[:1000])
        wait_until(lambda: running.service.num_active == 1)
    wait_until(lambda: running.service.num_active == 0)
    running.translator.may_go.set()
    assert running.client().audio.translations.create(file=WAV, model=NAME).text == "440 Hz"
    assert running.translator.batches == [8, 1]


def test_each_of_32_clients_gets_the_answer_to_its_own_files(start: Start) -> None:
    running = start(waits=True, max_queue=32)
    bad = [("bad.mp3", b"nothing", "bad.mp3: "), ("a.wav", tone(BROKEN), "decoding failed")]
    found: dict[tuple[int, int], str] = {}

    def ask(number: int) -> None:
        with running.client() as client:
            for turn in range(4):
                index = 4 * number + turn
                name, content, _ = bad[index % 2] if index % 5 == 0 else ("a.wav", tone(100 + 10 * index), "")
                try:
                    found[number, turn] = client.audio.translations.create(file=(name, content), model=NAME).text
                except openai.APIStatusError as error:
                    found[number, turn] = error.message

    with ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(ask, number) for number in range(32)]
        wait_until(lambda: running.service.num_active > 20)
        running.translator.may_go.set()
        for future in asked:
            future.result(30)
    for index in range(128):
        expected = bad[index % 2][2] if index % 5 == 0 else f"{100 + 10 * index} Hz"
        assert expected in found[index // 4, index % 4]
    assert max(running.translator.batches) == 8 and running.service.num_active == 0
