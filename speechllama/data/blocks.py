"""A recording of any length, block by block: file -> waveforms (S,) one after the other, 16 kHz, mono.

Memory does not grow with the recording: a block is decoded, mixed and resampled before the next one is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio, to_16_khz
from speechllama.data.containers.find import find_parts
from speechllama.data.decoding import BLOCK_SECONDS, Span, decode_other, decode_parts, measure
from speechllama.data.findings import Listener, warn

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
    """Read a recording in blocks of some seconds; one of at most half a minute is read at once, as `read_audio` does.

    What is unusual about it is logged at its end.

    Args:
        path: The file.

    Yields:
        Waveforms (S,), float32, 16 kHz, mono.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As of `read_audio`, but a fault in the middle of a long recording is met when it is reached.
    """
    path, listener = Path(path), Listener()
    parts = find_parts(path)
    if parts and measure(path, parts) <= WHOLE_SECONDS:
        yield read_audio(path)
        return
    span = Span(block=BLOCK_SECONDS)
    decoded = decode_parts(path, parts, span, listener) if parts else decode_other(path, listener)
    for block in to_16_khz(decoded, listener):
        listener.hear(block)
        yield block
    warn(path, listener.report())
