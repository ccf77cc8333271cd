"""Files as real archives hold them, made of sound files: pipes, killed recorders, joined and damaged ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

MP3: dict[str, Any] = {"format": "MP3"}
OPUS: dict[str, Any] = {"format": "OGG", "subtype": "OPUS"}
VORBIS: dict[str, Any] = {"format": "OGG", "subtype": "VORBIS"}


def make_tone(seconds: float, rate: int = 16000, hertz: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.4, float32 (S,)."""
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def make_noise(seconds: float, rate: int = 16000, seed: int = 1) -> np.ndarray:
    """Noise of standard deviation 0.1, float32 (S,): it does not compress to nothing, as a sine does."""
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def strongest(waveform: np.ndarray) -> float:
    """The frequency in hertz with most energy, of a waveform at 16 kHz."""
    return float(np.argmax(np.abs(np.fft.rfft(waveform))) * 16000 / len(waveform))


def encode(samples: np.ndarray, rate: int = 16000, **kind: Any) -> bytes:
    """The bytes of a file; without a kind, a wav of 16 bits."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **(kind or {"format": "WAV"}))
    return stream.getvalue()


def write(path: Path, *pieces: bytes) -> Path:
    """Write bytes one after the other."""
    path.write_bytes(b"".join(pieces))
    return path


def put(data: bytes, *patches: tuple[int, bytes]) -> bytes:
    """Write over some of the bytes."""
    changed = bytearray(data)
    for offset, patch in patches:
        changed[offset : offset + len(patch)] = patch
    return bytes(changed)


def with_sizes(wav: bytes, riff: int, samples: int) -> bytes:
    """Write other sizes into the header of a wav."""
    at = wav.index(b"data") + 4
    return put(wav, (4, struct.pack("<I", riff)), (at, struct.pack("<I", samples)))


def without_length_frame(mp3: bytes) -> bytes:
    """Take the first frame away, if it is one that says how many there are."""
    if b"Xing" not in mp3[:64] and b"Info" not in mp3[:64]:
        return mp3  # LAME writes none where a frame of the bit rate is too small for it
    start = mp3.index(b"\xff", 4)
    while mp3[start + 1] & 0xE0 != 0xE0 or mp3[start : start + 2] != mp3[:2]:
        start = mp3.index(b"\xff", start + 1)
    return mp3[start:]


def with_flac_total(flac: bytes, total: int) -> bytes:
    """Write another number of samples into the header of a FLAC file."""
    return put(flac, (21, bytes([flac[21] & 0xF0]) + struct.pack(">I", total)))


def encode_with_av(path: Path, codec: str, samples: np.ndarray, rate: int, *, video: bool = False) -> Path:
    """Write a file of one track of sound (S,), with FFmpeg; a picture as well, if asked for."""
    av = pytest.importorskip("av")
    try:
        av.Codec(codec, "w")
    except ValueError:  # UnknownCodecError is one
        pytest.skip(f"this build of PyAV has no encoder {codec}")
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10) if video else None
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "mono", 64000
        form = stream.codec_context.codec.audio_formats[0].name
        stream.format = form
        resampler = av.AudioResampler(form, "mono", rate)
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
            for _ in range(5):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4096], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path
