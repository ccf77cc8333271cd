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
from speechllama.data.audio import HEADER_SLACK_SAMPLES, PREROLL_SECONDS, _has_known_length, read_audio, read_duration
from speechllama.faults import InputError

BLOCK_SECONDS = 8.0
WHOLE_SECONDS = 30.0  # what is read at once


class Counted:
    """Blocks (S,) at 16 kHz that count how much of the recording has been taken.

    Args:
        blocks: The blocks.
    """

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks, self.num_samples = blocks, 0

    @property
    def seconds(self) -> float:
        """Duration of what has been taken."""
        return self.num_samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[np.ndarray]:
        """Pass the blocks on."""
        for block in self.blocks:
            self.num_samples += len(block)
            yield block


def read_blocks(path: str | Path) -> Iterator[np.ndarray]:
    """Read a recording in blocks of some seconds.

    A recording of at most half a minute is read at once, as `read_audio` reads it. So is any other in a format that
    libsndfile does not read, such as m4a.

    Args:
        path: The file.

    Yields:
        Waveforms (S,), float32, 16 kHz, mono.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As of `read_audio`, but a fault in the middle of a long recording is met when it is reached.
    """
    if read_duration(path) <= WHOLE_SECONDS:
        yield read_audio(path)
        return
    try:
        stream = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError:
        yield read_audio(path)
        return
    with stream:
        yield from resample_blocks(_mono_blocks(stream, path), stream.samplerate)


def _mono_blocks(stream: soundfile.SoundFile, path: str | Path) -> Iterator[np.ndarray]:
    """Blocks (S,) of an open file at its own rate."""
    rate, num_read = stream.samplerate, 0
    size = round(BLOCK_SECONDS * rate)
    while True:
        # soundfile seeks after each read, which makes a lossy decoder begin anew: some samples before are read again.
        preroll = min(num_read, round(PREROLL_SECONDS * rate))
        try:
            stream.seek(num_read - preroll)
            block = stream.read(preroll + size, dtype="float32", always_2d=True)[preroll:]  # (S, channels)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            at = num_read / rate
            raise InputError(f"{path}: cannot be decoded from {at:.1f} s on ({error}); truncated?") from error
        if not len(block):
            break
        num_read += len(block)
        if not np.isfinite(block).all():
            raise InputError(f"{path}: holds samples that are not finite numbers")
        yield block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
    if num_read < stream.frames - HEADER_SLACK_SAMPLES and _has_known_length(Path(path)):
        promised, found = stream.frames / rate, num_read / rate
        raise InputError(f"{path}: truncated: its header promises {promised:.2f} s, {found:.2f} s can be decoded")


def resample_blocks(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Bring blocks (S,) of one waveform to 16 kHz as if they were whole; some may come out empty."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
