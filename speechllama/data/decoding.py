"""Decode a recording's file: path -> blocks of samples (S, channels) at its own rate, within about +-1.

Parts that libsndfile reads (see containers/) come whole or block by block, those that FFmpeg reads block by block.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechllama.data.containers import ffmpeg
from speechllama.data.containers.parts import Part, file_state, open_part
from speechllama.data.findings import Kind, Listener
from speechllama.faults import InputError

BLOCK_SECONDS = 8.0
# A header may promise a little more than a decoder gives: encoder delay and padding, up to three mp3 frames.
HEADER_SLACK_SAMPLES = 3 * 1152
# An mp3 decoder needs the bytes that frames keep in those before them: at most 255 at 8 kbit/s, which is 0.26 s.
PREROLL_SECONDS = 0.5
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
INT16_SCALE = 32768.0
LARGEST_FLOAT = 16.0  # a mix may exceed full scale; samples of 16 bits that were written as they are exceed this
SCAN_SAMPLES = 1 << 20  # at once, where only the peak is looked for


class Block(NamedTuple):
    """Samples (S, channels), float32, their rate in hertz, and the number of the part that they are of."""

    samples: np.ndarray
    rate: int
    part: int


class Span(NamedTuple):
    """From when to when, in seconds, `end` None for the end of the file; and how much at once, 0 for a whole part."""

    start: float = 0.0
    end: float | None = None
    block: float = 0.0


def decode_parts(path: Path, parts: list[Part], span: Span, listener: Listener) -> Iterator[Block]:
    """Decode what lies between two times, part by part.

    Raises:
        ValueError: A part is truncated, damaged, or holds other than finite samples near full scale, or the span is
            not inside the recording.
    """
    if len(parts) > 1:
        listener.note(Kind.JOINED, f"{len(parts)} recordings, one after the other in one file; all are read")
    before = 0.0  # seconds of the parts that are done
    for number, part in enumerate(parts):
        if part.remark:
            listener.note(Kind.UNUSUAL, part.remark)
        with explained(path), open_part(path, part) as stream:
            length, rate = part.samples or (stream.frames, stream.samplerate)
            is_last = number == len(parts) - 1
            limit = length + (HEADER_SLACK_SAMPLES if is_last else 0)
            first = round((span.start - before) * rate)
            last = length if span.end is None else round((span.end - before) * rate)
            is_outside = span.start < 0 or (span.end is not None and span.end <= span.start)
            if is_outside or (is_last and (first >= length or last > limit)):
                raise no_segment(path, span, before + length / rate)
            first, last = max(0, first), min(last, limit)
            step = round(span.block * rate) or max(1, last - first)
            for begin in range(first, last, step):
                samples = _read_samples(path, stream, begin, min(step, last - begin))
                yield Block(_unit_scale(path, part, stream, samples, listener), rate, number)
        before += length / rate


def decode_other(path: Path, listener: Listener) -> Iterator[Block]:
    """Decode with FFmpeg what libsndfile does not read; a part ends where the rate or the channels change.

    Raises:
        ValueError: As of `ffmpeg.decode`, or it holds samples that are not finite.
    """
    with path.open("rb") as file:
        kind = ffmpeg.name_kind(file.read(ffmpeg.HEAD_BYTES))
    for block in _gather(ffmpeg.decode(path, kind)):
        listener.hear_decoded(block.samples, _check_peak(path, block.samples))
        yield block


def measure(path: Path, parts: list[Part]) -> float:
    """Measure a recording in seconds; without parts, it is decoded with FFmpeg."""
    if not parts:
        return sum(len(block.samples) / block.rate for block in decode_other(path, Listener()))
    seconds = 0.0
    for part in parts:
        if part.samples is not None:
            seconds += part.samples[0] / part.samples[1]
            continue
        with explained(path), open_part(path, part) as stream:
            seconds += stream.frames / stream.samplerate
    return seconds


def no_segment(path: Path, span: Span, duration: float) -> InputError:
    """Say that a span is not inside a recording."""
    return InputError(
        f"{path}: no segment {span.start} to {span.end} s in a recording of {duration:.3f} s; "
        "expected 0 <= start < end <= duration"
    )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Put the file's name before libsndfile's reason.

    Raises:
        ValueError: libsndfile refuses the file.
    """
    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        reason = (
            "format not recognised" if "does not exist" in reason else reason
        )  # it says so of what it does not know
        raise InputError(f"{path}: cannot be decoded ({reason}); truncated or no audio") from error


def _gather(frames: Iterable[tuple[np.ndarray, int]]) -> Iterator[Block]:
    """Join the short frames of a decoder to blocks of one rate and number of channels."""
    part, kind, size = 0, (0, 0), 0
    held: list[np.ndarray] = []
    for samples, rate in frames:
        is_new = kind != (rate, samples.shape[1])
        if held and (is_new or size >= BLOCK_SECONDS * rate):
            yield Block(np.concatenate(held), kind[0], part)
            held, size, part = [], 0, part + is_new
        held.append(samples)
        kind, size = (rate, samples.shape[1]), size + len(samples)
    if held:
        yield Block(np.concatenate(held), kind[0], part)


def _read_samples(path: Path, stream: soundfile.SoundFile, first: int, wanted: int) -> np.ndarray:
    """Read samples (S, channels) from one on, with some before it that are thrown away."""
    rate = stream.samplerate
    preroll = min(first, round(PREROLL_SECONDS * rate))
    if first:  # soundfile seeks after each read as well, which makes a lossy decoder begin anew
        stream.seek(first - preroll)
    samples: np.ndarray = stream.read(preroll + wanted, dtype="float32", always_2d=True)[preroll:]
    if len(samples) < wanted - HEADER_SLACK_SAMPLES:
        promised, found = (first + wanted) / rate, (first + len(samples)) / rate
        raise InputError(
            f"{path}: truncated: its header promises {promised:.2f} s, {found:.2f} s can be decoded; get it again"
        )
    return samples


def _unit_scale(
    path: Path, part: Part, stream: soundfile.SoundFile, samples: np.ndarray, listener: Listener
) -> np.ndarray:
    """Bring float samples at the scale of 16 bits within +-1; the peak of the whole file decides.

    Raises:
        ValueError: They are far above that scale as well, or not finite.
    """
    own_peak = peak = _check_peak(path, samples)
    if stream.subtype in FLOAT_SUBTYPES and len(samples) < stream.frames:
        peak = _find_peak(path, part, file_state(path))
    if peak > LARGEST_FLOAT and stream.subtype in FLOAT_SUBTYPES:
        if peak > 2 * INT16_SCALE:
            raise InputError(
                f"{path}: float samples up to {peak:.3g}, expected within +-1, or +-{INT16_SCALE:.0f}; divide them by "
                "what is full scale"
            )
        told = f"float samples up to {peak:.0f}: taken as those of 16 bits and divided by {INT16_SCALE:.0f}"
        listener.note(Kind.RESCALED, told)
        samples, own_peak = samples / np.float32(INT16_SCALE), own_peak / INT16_SCALE
    listener.hear_decoded(samples, own_peak)
    return samples


def _check_peak(path: Path, samples: np.ndarray) -> float:
    """Find the largest magnitude; one sample that is NaN or infinite is enough to make it that."""
    peak = max(-float(samples.min()), float(samples.max())) if len(samples) else 0.0
    if not math.isfinite(peak):
        raise InputError(f"{path}: holds samples that are not finite numbers; write it again")
    return peak


@functools.lru_cache(maxsize=64)
def _find_peak(path: Path, part: Part, _: tuple[int, int, int, int]) -> float:
    """Find the largest magnitude in a part; remembered as long as the file does not change."""
    with open_part(path, part) as stream:
        return max(_check_peak(path, block) for block in stream.blocks(SCAN_SAMPLES, dtype="float32"))
