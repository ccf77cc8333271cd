"""Recordings in: a file of any usual kind -> waveform (S,), 16 kHz, mono, within about +-1, and findings.

path -> parts (containers/) -> samples (S, channels) (decoding.py) -> one channel (channels.py) -> 16 kHz
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import soxr

from speechllama.constants import SAMPLE_RATE
from speechllama.data.channels import Mixer
from speechllama.data.containers.find import find_parts
from speechllama.data.containers.parts import file_state
from speechllama.data.decoding import (
    HEADER_SLACK_SAMPLES,
    Block,
    Span,
    decode_other,
    decode_parts,
    measure,
    no_segment,
)
from speechllama.data.findings import Finding, Listener, warn
from speechllama.faults import InputError

QUALITY = "HQ"  # of resampling


@dataclass(frozen=True)
class Recording:
    """A recording, or a segment of one.

    Attributes:
        waveform: Samples (S,), 16 kHz, float32.
        findings: What is unusual about it, and was not in the way.
    """

    waveform: np.ndarray
    findings: tuple[Finding, ...] = ()


def read_audio(path: str | Path, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Read a recording, or a segment of it, as mono 16 kHz; what is unusual about it is logged once a file.

    Arguments and errors as of `load_recording`.

    Returns:
        The waveform (S,), float32.
    """
    recording = load_recording(path, start, end)
    warn(Path(path), recording.findings)
    return recording.waveform


def load_recording(path: str | Path, start: float = 0.0, end: float | None = None) -> Recording:
    """Read a recording, or a segment of it, as mono 16 kHz; joined recordings are read one after the other.

    Channels are averaged, those without sound left out; if they cancel each other, the loudest is taken. Float samples
    at the scale of 16 bits are divided by it.

    Args:
        path: The file: what libsndfile reads, and with the extra `av` what FFmpeg reads.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, truncated, no audio or holds other than finite samples, it needs PyAV, or the
            segment is not inside it.
    """
    path, span, listener = Path(path), Span(start, end), Listener()
    parts = find_parts(path)
    if not parts and span != Span():
        return _cut(path, _load_other(path, file_state(path)), span)
    if parts:
        blocks = decode_parts(path, parts, span, listener)
        mixed = ((Mixer(block.samples.shape[1], listener).mix(block.samples), block.rate) for block in blocks)
        pieces = [resample(samples, rate) for samples, rate in mixed]
    else:
        pieces = list(to_16_khz(decode_other(path, listener), listener))
    waveform = np.concatenate(pieces) if len(pieces) > 1 else pieces[0] if pieces else np.zeros(0, np.float32)
    if not len(waveform):
        raise InputError(f"{path}: holds no sample")
    listener.hear(waveform)
    return Recording(waveform, listener.report())


def read_duration(path: str | Path) -> float:
    """Measure a recording in seconds: that of its samples, whatever its header says.

    Headers are read of wav, flac, ogg and the like, headers of all frames of mp3. Only what FFmpeg reads is decoded.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, truncated, no audio, or needs PyAV.
    """
    path = Path(path)
    seconds = measure(path, find_parts(path))
    if seconds <= 0:
        raise InputError(f"{path}: holds no sample")
    return seconds


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
    return np.asarray(soxr.resample(waveform, rate, SAMPLE_RATE, quality=QUALITY), dtype=np.float32)


def resample_blocks(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Bring blocks (S,) of one waveform to 16 kHz as if they were whole; some may come out empty."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=QUALITY)
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def to_16_khz(blocks: Iterable[Block], listener: Listener) -> Iterator[np.ndarray]:
    """Bring decoded blocks to one channel at 16 kHz as they come, part by part."""
    for _, part in groupby(blocks, key=lambda block: block.part):
        first = next(part)
        mixer = Mixer(first.samples.shape[1], listener)
        yield from resample_blocks((mixer.mix(block.samples) for block in chain((first,), part)), first.rate)


@functools.lru_cache(maxsize=1)
def _load_other(path: Path, _: tuple[int, int, int, int]) -> Recording:
    """Keep the last file that segments are cut of: FFmpeg would decode it from its beginning for each of them."""
    return load_recording(path)


def _cut(path: Path, whole: Recording, span: Span) -> Recording:
    """Cut a segment out of a recording."""
    length = len(whole.waveform)
    first, last = round(span.start * SAMPLE_RATE), length if span.end is None else round(span.end * SAMPLE_RATE)
    if not 0 <= first < min(last, length) or last > length + HEADER_SLACK_SAMPLES:
        raise no_segment(path, span, length / SAMPLE_RATE)
    return replace(whole, waveform=whole.waveform[first:last])
