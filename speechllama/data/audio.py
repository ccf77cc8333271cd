"""Recordings in: a file of any usual kind -> waveform (S,), 16 kHz, mono, within about +-1, and findings.

path -> parts (containers/) -> samples (S, channels) -> one channel -> 16 kHz
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechllama.constants import SAMPLE_RATE
from speechllama.data.containers import ffmpeg
from speechllama.data.containers.find import find_parts
from speechllama.data.containers.parts import Part, open_part
from speechllama.data.findings import Finding, Kind, judge, judge_clipping, mix, warn
from speechllama.faults import InputError

# A header may promise a little more than a decoder gives: encoder delay and padding, up to three mp3 frames.
HEADER_SLACK_SAMPLES = 3 * 1152
# An mp3 decoder needs the bytes that frames keep in those before them: at most 255 at 8 kbit/s, which is 0.26 s.
PREROLL_SECONDS = 0.5
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
INT16_SCALE = 32768.0
LARGEST_FLOAT = 16.0  # a mix may exceed full scale; samples of 16 bits that were written as they are exceed this
SCAN_SAMPLES = 1 << 20  # at once, where only the peak is looked for
QUALITY = "HQ"


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
    warn(str(path), recording.findings)
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
    path = Path(path)
    parts = find_parts(path)
    if not parts:
        if (start, end) == (0.0, None):
            return _load_other(path)
        state = path.stat()
        return _cut(path, _remember_other(path, state.st_size, state.st_mtime_ns), start, end)
    findings = [Finding(Kind.UNUSUAL, part.remark) for part in parts if part.remark]
    if len(parts) > 1:
        findings.append(Finding(Kind.JOINED, f"{len(parts)} recordings, one after the other in one file; all are read"))
    pieces = []
    for samples, rate, found in _decode_parts(path, parts, start, end):
        mono, mixed = mix(samples)
        pieces.append(resample(mono, rate))
        findings += [*found, *mixed]
    return _finish(path, pieces, findings)


def read_duration(path: str | Path) -> float:
    """Measure a recording in seconds: that of its samples, whatever its header says.

    Headers are read of wav, flac, ogg and the like, headers of all frames of mp3. Only what FFmpeg reads is decoded.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, truncated, no audio, or needs PyAV.
    """
    path = Path(path)
    parts = find_parts(path)
    if parts:
        seconds = sum(_measure(path, part) for part in parts)
    else:
        seconds = sum(len(samples) / rate for samples, rate in _decode_other(path))
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


def _finish(path: Path, pieces: list[np.ndarray], findings: list[Finding]) -> Recording:
    """Join the pieces of a recording at 16 kHz, and judge the whole."""
    if not sum(map(len, pieces)):
        raise InputError(f"{path}: holds no sample")
    waveform = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
    found = {finding.kind: finding for finding in [*findings, *judge(waveform)]}
    return Recording(waveform, tuple(found.values()))


def _decode_parts(
    path: Path, parts: list[Part], start: float, end: float | None
) -> Iterator[tuple[np.ndarray, int, list[Finding]]]:
    """Decode what lies between two times, part by part: samples (S, channels), their rate, and what was found."""
    before = 0.0  # seconds of the parts that are done
    for part in parts:
        with _explained(path), open_part(path, part) as stream:
            length, rate = part.samples or (stream.frames, stream.samplerate)
            slack = HEADER_SLACK_SAMPLES if part is parts[-1] else 0
            first = round((start - before) * rate) if before == 0 else max(0, round((start - before) * rate))
            last = length if end is None else round((end - before) * rate)
            is_outside = first < 0 or first >= length or last > length + slack
            if (part is parts[-1] and is_outside) or (end is not None and end <= start):
                raise _no_segment(path, start, end, before + length / rate)
            last = min(last, length + slack)
            if first < last:
                samples = _read_samples(path, stream, first, last - first)
                yield _unit_scale(path, part, stream, samples)
        before += length / rate


def _read_samples(path: Path, stream: soundfile.SoundFile, first: int, wanted: int) -> np.ndarray:
    """Read samples (S, channels) from one on, with some before it that are thrown away."""
    rate = stream.samplerate
    preroll = min(first, round(PREROLL_SECONDS * rate))
    if first > preroll:
        stream.seek(first - preroll)
    samples: np.ndarray = stream.read(preroll + wanted, dtype="float32", always_2d=True)[preroll:]
    if len(samples) < wanted - HEADER_SLACK_SAMPLES:
        raise InputError(
            f"{path}: truncated: its header promises {wanted / rate:.2f} s, {len(samples) / rate:.2f} s can be decoded"
        )
    return samples


def _unit_scale(
    path: Path, part: Part, stream: soundfile.SoundFile, samples: np.ndarray
) -> tuple[np.ndarray, int, list[Finding]]:
    """Bring float samples at the scale of 16 bits within +-1; the whole file's peak decides, not that of a segment.

    Raises:
        ValueError: They are far above that scale as well, or not finite.
    """
    rate = stream.samplerate
    peak = _check_peak(path, samples)
    if stream.subtype in FLOAT_SUBTYPES and len(samples) < stream.frames:
        peak = _find_peak(path, part, path.stat().st_mtime_ns)
    if peak <= LARGEST_FLOAT or stream.subtype not in FLOAT_SUBTYPES:
        return samples, rate, judge_clipping(samples, peak)
    if peak > 2 * INT16_SCALE:
        raise InputError(
            f"{path}: float samples up to {peak:.3g}, expected within +-1, or +-{INT16_SCALE:.0f}; divide them by what "
            "is full scale"
        )
    told = f"float samples up to {peak:.0f}: taken as those of 16 bits and divided by {INT16_SCALE:.0f}"
    return samples / np.float32(INT16_SCALE), rate, [Finding(Kind.RESCALED, told)]


def _check_peak(path: Path, samples: np.ndarray) -> float:
    """Find the largest magnitude; one sample that is NaN or infinite is enough to make it that."""
    peak = max(-float(samples.min()), float(samples.max())) if len(samples) else 0.0
    if not math.isfinite(peak):
        raise InputError(f"{path}: holds samples that are not finite numbers; write it again")
    return peak


@functools.lru_cache(maxsize=64)
def _find_peak(path: Path, part: Part, _: int) -> float:
    """Find the largest magnitude in a part; remembered as long as the file does not change."""
    with open_part(path, part) as stream:
        return max(_check_peak(path, block) for block in stream.blocks(SCAN_SAMPLES, dtype="float32"))


def _measure(path: Path, part: Part) -> float:
    """Measure a part in seconds."""
    if part.samples is not None:
        return part.samples[0] / part.samples[1]
    with _explained(path), open_part(path, part) as stream:
        return float(stream.frames / stream.samplerate)


def _decode_other(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    with path.open("rb") as stream:
        return ffmpeg.decode(path, ffmpeg.name_kind(stream.read(ffmpeg.HEAD_BYTES)))


def _load_other(path: Path) -> Recording:
    """Read with FFmpeg."""
    pieces: list[np.ndarray] = []
    findings: list[Finding] = []
    for (rate, channels), blocks in itertools.groupby(_decode_other(path), lambda item: (item[1], item[0].shape[1])):
        samples = _resample_blocks((block for block, _ in blocks), rate, channels)
        clipped = judge_clipping(samples, _check_peak(path, samples))
        mono, mixed = mix(samples)
        pieces.append(mono)
        findings += [*mixed, *clipped]
    return _finish(path, pieces, findings)


def _resample_blocks(blocks: Iterable[np.ndarray], rate: int, channels: int) -> np.ndarray:
    """Bring blocks (S, channels) to 16 kHz as they come: the sound of a film is long at its own rate."""
    if rate == SAMPLE_RATE:
        return np.concatenate(list(blocks))
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, channels, dtype="float32", quality=QUALITY)
    done = [stream.resample_chunk(block) for block in blocks]
    end = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
    return np.concatenate([*done, end])


@functools.lru_cache(maxsize=1)
def _remember_other(path: Path, size: int, _: int) -> Recording:
    """Keep the last file that segments are cut of: FFmpeg would decode it from its beginning for each of them."""
    return _load_other(path)


def _cut(path: Path, whole: Recording, start: float, end: float | None) -> Recording:
    """Cut a segment out of a recording."""
    length = len(whole.waveform)
    first, last = round(start * SAMPLE_RATE), length if end is None else round(end * SAMPLE_RATE)
    if not 0 <= first < min(last, length) or last > length + HEADER_SLACK_SAMPLES:
        raise _no_segment(path, start, end, length / SAMPLE_RATE)
    return replace(whole, waveform=whole.waveform[first:last])


def _no_segment(path: Path, start: float, end: float | None, duration: float) -> InputError:
    return InputError(
        f"{path}: no segment {start} to {end} s in a recording of {duration:.3f} s; "
        "expected 0 <= start < end <= duration"
    )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Put libsndfile's reason after the file's name."""
    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        reason = (
            "format not recognised" if "does not exist" in reason else reason
        )  # it says so of what it does not know
        raise InputError(f"{path}: cannot be decoded ({reason}); truncated or no audio") from error
