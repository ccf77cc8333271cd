"""The microphone: blocks (S,) of what is spoken now, 16 kHz, until Ctrl-C.

sounddevice is an extra; it needs the system's PortAudio.
"""

from __future__ import annotations

import importlib
import logging
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import resample_blocks
from speechllama.faults import InputError

BLOCK_SECONDS = 0.1
WAIT_SECONDS = 0.2  # until Ctrl-C is looked for again
LAG_SECONDS = 30.0  # of recorded and not yet translated speech, of which a warning tells


def record() -> Iterator[np.ndarray]:
    """Record from the default microphone until Ctrl-C, which ends the recording and not the program.

    Yields:
        Blocks (S,), float32, 16 kHz.

    Raises:
        ValueError: sounddevice or PortAudio is not installed, or there is no microphone.
    """
    sounddevice = load_sounddevice()
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def keep(data: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        if status:
            logging.warning("the microphone lost samples: %s", status)
        blocks.put(data[:, 0].copy())

    try:
        rate = choose_rate(sounddevice)
        stream = sounddevice.InputStream(
            samplerate=rate, channels=1, dtype="float32", blocksize=round(rate * BLOCK_SECONDS), callback=keep
        )
        with stopped_by_interrupt() as stopped, stream:
            logging.info("listening; Ctrl-C ends it")
            yield from resample_blocks(_until(stopped, blocks), rate)
    except sounddevice.PortAudioError as error:
        message = f"no microphone can be opened ({error}); connect one, and make it the system's default"
        raise InputError(message) from error


def load_sounddevice() -> Any:
    """Import sounddevice.

    Raises:
        ValueError: It or PortAudio is not installed.
    """
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise InputError("the microphone needs sounddevice: pip install -e '.[live]'") from error
    except OSError as error:
        raise InputError(
            f"sounddevice is installed, but not the library that it needs ({error}): apt-get install libportaudio2, or "
            "your system's package of PortAudio"
        ) from error


def choose_rate(sounddevice: Any) -> int:
    """16 kHz if the microphone has it, else its own rate."""
    try:
        sounddevice.check_input_settings(samplerate=SAMPLE_RATE, channels=1)
    except sounddevice.PortAudioError:
        return round(sounddevice.query_devices(kind="input")["default_samplerate"])
    return SAMPLE_RATE


@contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
    """Set an event at the first Ctrl-C; a second one interrupts as usual. In other threads than the main one: never."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _until(stopped: threading.Event, blocks: queue.SimpleQueue[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks as they come, until the event is set; then those that came before it."""
    has_warned = False
    while True:
        try:
            block = blocks.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            if stopped.is_set():
                return
            continue
        lag = blocks.qsize() * BLOCK_SECONDS
        if lag > LAG_SECONDS and not has_warned and not stopped.is_set():
            logging.warning("the translation is %.0f s behind; a smaller beam or a GPU is faster", lag)
            has_warned = True
        yield block
