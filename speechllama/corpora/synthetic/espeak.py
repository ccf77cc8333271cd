"""Speech synthesis with eSpeak NG from the `espeakng_loader` wheel: text -> waveform (S,), 22.05 kHz.

eSpeak keeps state between calls: phases, noise and the flutter of the pitch continue where the last utterance
ended, and neither espeak_ng_SetRandSeed nor espeak_Terminate resets them (measured). The state is in the
library's static data, so every utterance loads the library anew and unloads it (5 ms). The bytes then depend
on the arguments only, not on the order of the utterances nor on the number of processes.
Source: ours.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
from functools import cache
from pathlib import Path

import numpy as np

from speechllama.faults import InputError, MissingFileError

SYNCHRONOUS_OUTPUT = 2
DO_NOT_EXIT = 0x8000
TEXT_IS_UTF8 = 1
RATE_PARAMETER, PITCH_PARAMETER = 1, 3
OK = 0
# int callback(short *wave, int number_of_samples, espeak_EVENT *events); 0 means continue.
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@cache
def find_library() -> tuple[Path, Path]:
    """Find libespeak-ng and its data folder.

    Returns:
        Path of the shared library, path of the folder `espeak-ng-data`.

    Raises:
        FileNotFoundError: The wheel is not installed, or has no library for this platform.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingFileError("no libespeak-ng: `pip install espeakng-loader` brings it") from error
    library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    for path in (library, data):
        if not path.exists():
            raise MissingFileError(f"{path}: missing; `pip install --force-reinstall espeakng-loader`")
    return library, data


def list_variants() -> list[str]:
    """Names of the voice variants (`m3`, `Andy`, ...), sorted."""
    return sorted(path.name for path in (find_library()[1] / "voices" / "!v").iterdir())


def synthesize(
    text: str, voice: str, variant: str = "m3", speed_wpm: int = 170, pitch: int = 50
) -> tuple[np.ndarray, int]:
    """Speak a sentence; equal arguments give equal samples.

    Not thread-safe (the library is loaded and unloaded): use processes.

    Args:
        text: What to say, UTF-8.
        voice: Language or accent of eSpeak, e.g. "de", "fr", "es-419".
        variant: Speaker, a name that `list_variants` gives.
        speed_wpm: Words a minute, 80 to 450.
        pitch: 0 to 99, 50 is the variant's own.

    Returns:
        Waveform (S,) float32 in -1 to 1, and its sample rate in hertz.

    Raises:
        FileNotFoundError: There is no library.
        ValueError: Empty text, or a voice, variant, speed or pitch that eSpeak does not have.
        RuntimeError: eSpeak failed, or something else in this process holds the library.
    """
    if not any(mark.isalnum() for mark in text):
        raise InputError(f"nothing to say in {text!r}; expected at least one letter or digit")
    if not 80 <= speed_wpm <= 450:
        raise InputError(f"speed_wpm is {speed_wpm}, expected 80 to 450")
    if not 0 <= pitch <= 99:
        raise InputError(f"pitch is {pitch}, expected 0 to 99")
    if variant not in list_variants():  # eSpeak would silently take the plain voice
        raise InputError(f"eSpeak has no variant {variant!r}; there are: {' '.join(list_variants())}")
    path, data = find_library()
    library = load_afresh(path)
    try:
        rate = library.espeak_Initialize(SYNCHRONOUS_OUTPUT, 0, os.fsencode(data), DO_NOT_EXIT)
        if rate <= 0:
            raise RuntimeError(f"espeak_Initialize failed with {rate} on {data}")
        samples = speak(library, text, f"{voice}+{variant}", speed_wpm, pitch)
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)
    return samples.astype(np.float32) / 32768.0, rate


def load_afresh(path: Path) -> ctypes.CDLL:
    """Load the library with its static data as it was built.

    Raises:
        RuntimeError: It is loaded already, so that its state is not fresh.
    """
    try:
        held = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return ctypes.CDLL(str(path))
    _ctypes.dlclose(held._handle)
    raise RuntimeError(f"{path} is in use in this process, its state not fresh; synthesise in another process")


def speak(library: ctypes.CDLL, text: str, voice: str, speed_wpm: int, pitch: int) -> np.ndarray:
    """Run one synthesis on an initialised library; returns int16 samples (S,)."""
    parts: list[bytes] = []

    def collect(wave: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if count > 0:
            parts.append(ctypes.string_at(wave, 2 * count))
        return 0

    callback = CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if library.espeak_SetVoiceByName(voice.encode()) != OK:
        raise InputError(f"eSpeak has no voice {voice.split('+')[0]!r}; expected a language such as de")
    library.espeak_SetParameter(RATE_PARAMETER, speed_wpm, 0)
    library.espeak_SetParameter(PITCH_PARAMETER, pitch, 0)
    encoded = text.encode()
    status = library.espeak_Synth(
        encoded,
        ctypes.c_size_t(len(encoded) + 1),
        ctypes.c_uint(0),  # from the first character
        0,
        ctypes.c_uint(0),  # to the last
        ctypes.c_uint(TEXT_IS_UTF8),
        None,
        None,
    )
    if status != OK or library.espeak_Synchronize() != OK or not parts:
        raise RuntimeError(f"eSpeak could not say {text!r} with voice {voice!r} (status {status})")
    return np.frombuffer(b"".join(parts), dtype=np.int16)
