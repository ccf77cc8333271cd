"""The microphone, with a fake sounddevice: rates, Ctrl-C, and what is missing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from speechllama.decode import microphone
from speechllama.decode.microphone import record

Callback = Callable[[np.ndarray, int, Any, Any], None]


class FakeError(Exception):
    """PortAudio's."""


def fake_sounddevice(rates: tuple[int, ...], has_device: bool = True) -> Any:
    """A module that plays a tone of one second, then what looks like Ctrl-C."""
    fake: Any = types.ModuleType("sounddevice")
    fake.PortAudioError, fake.opened = FakeError, []

    class InputStream:
        def __init__(self, samplerate: int, channels: int, dtype: str, blocksize: int, callback: Callback) -> None:
            if not has_device:
                raise FakeError("Error querying device -1")
            fake.opened.append((samplerate, channels, dtype, blocksize))
            self.rate, self.size, self.callback = samplerate, blocksize, callback

        def __enter__(self) -> None:
            threading.Thread(target=self.play).start()

        def __exit__(self, *_: object) -> None:
            fake.opened.append("closed")

        def play(self) -> None:
            tone = np.sin(2 * np.pi * 440 * np.arange(self.rate) / self.rate).astype(np.float32)
            for start in range(0, self.rate, self.size):
                part = tone[start : start + self.size, None]
                self.callback(part, len(part), None, "input overflow" if start == 0 else None)
            os.kill(os.getpid(), signal.SIGINT)

    def check_input_settings(samplerate: int, channels: int) -> None:
        if samplerate not in rates:
            raise FakeError("Invalid sample rate")

    fake.InputStream, fake.check_input_settings = InputStream, check_input_settings
    fake.query_devices = lambda kind: {"default_samplerate": float(rates[0])}
    return fake


@pytest.mark.parametrize("rates", [(16000,), (48000, 44100)])
def test_what_was_spoken_before_ctrl_c_is_heard_at_16_khz(
    rates: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = fake_sounddevice(rates)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    before = signal.getsignal(signal.SIGINT)
    waveform = np.concatenate(list(record()))
    assert signal.getsignal(signal.SIGINT) is before
    assert fake.opened == [(rates[0], 1, "float32", rates[0] // 10), "closed"]
    assert abs(len(waveform) - 16000) <= 1
    assert np.argmax(np.abs(np.fft.rfft(waveform))) == 440
    assert "the microphone lost samples: input overflow" in caplog.text


def test_a_second_ctrl_c_interrupts_as_usual() -> None:
    with pytest.raises(KeyboardInterrupt), microphone.stopped_by_interrupt() as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped.is_set()
        signal.raise_signal(signal.SIGINT)


def test_no_microphone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice((16000,), has_device=False))
    with pytest.raises(ValueError, match=r"no microphone can be opened \(Error querying device -1\); connect one"):
        list(record())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("No module named 'sounddevice'"), r"pip install -e '\.\[live\]'"),
        (OSError("PortAudio library not found"), r"\(PortAudio library not found\): apt-get install libportaudio2"),
    ],
)
def test_what_is_missing_is_said_with_what_to_install(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(microphone.importlib, "import_module", refuse)
    with pytest.raises(ValueError, match=message):
        list(record())
