"""A recording of any length, block by block: file -> waveforms (S,) one after the other, 16 kHz, mono.

Memory does not grow with the recording: a block is decoded, mixed and resampled before the next one is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio
from speechllama.faults import InputError

BLOCK_SECONDS = 4.0


def read_blocks(path: str | Path) -> Iterator[np.ndarray]:
    """Read a recording in blocks of some seconds.

    A format that libsndfile does not read, such as m4a, is read whole.

    Args:
        path: The file.

    Yields:
        Waveforms (S,), float32, 16 kHz, mono.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded, or holds other than finite samples.
    """
    try:
        stream = soundfile.SoundFile(str(path))
    except (soundfile.LibsndfileError, OSError):
        yield read_audio(path)
        return
    with stream:
        yield from resample_blocks(_mono_blocks(stream, path), stream.samplerate)


def _mono_blocks(stream: soundfile.SoundFile, path: str | Path) -> Iterator[np.ndarray]:
    """Blocks (S,) of an open file at its own rate."""
    size = round(BLOCK_SECONDS * stream.samplerate)
    num_read = 0
    while True:
        try:
            block = stream.read(size, dtype="float32", always_2d=True)  # (S, channels)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            at = num_read / stream.samplerate
            raise InputError(f"{path}: cannot be decoded from {at:.1f} s on ({error}); truncated?") from error
        if not len(block):
            break
        num_read += len(block)
        if not np.isfinite(block).all():
            raise InputError(f"{path}: holds samples that are not finite numbers")
        yield block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
    if not num_read:
        raise InputError(f"{path}: holds no sample")


def resample_blocks(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Bring blocks (S,) of one waveform to 16 kHz as if they were whole; some may come out empty."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
