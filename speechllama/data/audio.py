"""Recordings in: wav, flac, mp3 or opus at any rate -> waveform (S,), 16 kHz, mono, within about +-1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError, MissingFileError

# A header may promise a little more than a decoder gives: encoder delay and padding, up to three mp3 frames.
HEADER_SLACK_SAMPLES = 3 * 1152
# A lossy decoder needs some frames before those it is asked for; without them the first ones are silent.
PREROLL_SECONDS = 0.25
_STREAMED_RIFF_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # written by programs that could not know the size yet


def read_audio(path: str | Path, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Read a recording, or a segment of it, as mono 16 kHz.

    Args:
        path: The file, in any format that libsndfile reads.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end of the file.

    Returns:
        The waveform (S,), float32.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, truncated, no audio or holds other than finite samples, or the segment
            is not inside it. An mp3 without a length header and an ogg file cut between two pages cannot be
            told from whole ones.
    """
    path = Path(path)
    _check_file(path)
    try:
        with soundfile.SoundFile(str(path)) as stream:
            rate, promised = stream.samplerate, stream.frames
            first = round(start * rate)
            wanted = (promised if end is None else round(end * rate)) - first
            if first < 0 or wanted <= 0 or first + wanted > promised + HEADER_SLACK_SAMPLES:
                raise InputError(
                    f"{path}: no segment {start} to {end} s in a recording of {promised / rate:.3f} s; "
                    "expected 0 <= start < end <= duration"
                )
            preroll = min(first, round(PREROLL_SECONDS * rate))
            if first > preroll:
                stream.seek(first - preroll)
            samples = stream.read(preroll + wanted, dtype="float32", always_2d=True)[preroll:]  # (S, channels)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be decoded ({_reason(error)}); truncated or no audio") from error
    if len(samples) < wanted - HEADER_SLACK_SAMPLES and _has_known_length(path):
        raise InputError(
            f"{path}: truncated: its header promises {wanted / rate:.2f} s, {len(samples) / rate:.2f} s can be decoded"
        )
    if not len(samples):
        raise InputError(f"{path}: holds no sample")
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise InputError(f"{path}: holds samples that are not finite numbers")
    return resample(mono, rate)


def to_unit_scale(waveform: np.ndarray) -> np.ndarray:
    """Check a waveform given as an array; whole numbers are divided by the full scale of their dtype.

    Args:
        waveform: Samples (S,): float within +-1, or int16, int32, ... as a wav file holds them.

    Returns:
        Samples (S,), float.

    Raises:
        ValueError: It is not one channel of real numbers, or holds samples that are not finite.
    """
    if waveform.ndim != 1:
        raise InputError(f"a waveform is one channel (samples,), found the shape {waveform.shape}")
    if waveform.dtype.kind == "i":
        return waveform.astype(np.float64) / -float(np.iinfo(waveform.dtype).min)
    if waveform.dtype.kind != "f":
        raise InputError(f"a waveform is float within +-1 or signed integer, found {waveform.dtype}")
    if not np.isfinite(waveform).all():
        raise InputError("the waveform holds samples that are not finite numbers")
    return waveform


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Bring a waveform to 16 kHz.

    Args:
        waveform: Samples (S,).
        rate: Their rate in hertz.

    Returns:
        Samples at 16 kHz, float32.
    """
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(waveform, dtype=np.float32)
    return np.asarray(soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ"), dtype=np.float32)


def read_duration(path: str | Path) -> float:
    """Read a recording's duration in seconds from its header, without decoding it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, a truncated wav, or no audio.
    """
    path = Path(path)
    _check_file(path)
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}); truncated or no audio") from error
    if header.frames <= 0 or header.samplerate <= 0:
        raise InputError(f"{path}: holds no sample")
    return float(header.frames / header.samplerate)


def _reason(error: Exception) -> str:
    """Give libsndfile's own words, but not its claim that a file which it cannot recognise does not exist."""
    words = str(getattr(error, "error_string", error)).rstrip(".")
    return "format not recognised" if "does not exist" in words else words


def _check_file(path: Path) -> None:
    """Refuse what is no file, an empty file, and a wav whose header promises more bytes than there are."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such recording")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: the recording is empty (0 bytes)")
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[:4] != b"RIFF":
        return
    promised = int.from_bytes(head[4:8], "little")
    if promised not in _STREAMED_RIFF_SIZES and promised + 8 > size + 1:  # the pad byte may lack
        raise InputError(f"{path}: truncated: its header promises {promised + 8:,} bytes, found {size:,}")


def _has_known_length(path: Path) -> bool:
    """Say whether the header states the length; an mp3 without Xing, Info or VBRI header has an estimate."""
    with path.open("rb") as stream:
        head = stream.read(10)
        if head[:3] == b"ID3":  # skip the tag; its size is four 7-bit bytes
            tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            stream.seek(10 + tag)
            head = stream.read(10)
        is_mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
        head += stream.read(200)  # the length header is inside the first frame
    return not is_mp3 or any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))
