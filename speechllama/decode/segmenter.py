"""Cut a recording into pieces at pauses while it is read: blocks (S,), one after the other -> pieces with their times.

At most one piece and one block are in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.decode.voice import FRAME, Detector, energy, has_silero, silero_detector
from speechllama.faults import InputError

FRAME_SECONDS = FRAME / SAMPLE_RATE
LEAST_SPEECH_FRAMES = 3  # in a piece; less is a click


class Piece(NamedTuple):
    """A part of a recording.

    Attributes:
        start: Where it begins, in seconds of the recording.
        end: Where it ends.
        waveform: Its samples (S,), 16 kHz.
    """

    start: float
    end: float
    waveform: np.ndarray


@dataclass(frozen=True)
class CutConfig:
    """How a recording is cut.

    Attributes:
        max_seconds: Longest piece. A recording of at most this length stays whole.
        segmentation: `vad`: speech is found with silero-vad, pauses are left out, and a piece ends at a pause; `even`:
            windows of about `max_seconds`, each cut where it is quietest in its last fifth, with nothing left out.
        min_pause: Seconds without speech that end a piece.
        padding: Seconds kept before and after speech.
        threshold: From which probability on a window is speech, 0 to 1; below it less 0.15, it is none.
        keeps_short: Leave a short recording whole; a live one is cut at its first pause.
        checks_short: With `vad`, leave a short recording out if no speech is found in it and silero-vad is installed.
    """

    max_seconds: float = 20.0
    segmentation: Literal["vad", "even"] = "vad"
    min_pause: float = 0.5
    padding: float = 0.2
    threshold: float = 0.5
    keeps_short: bool = True
    checks_short: bool = False

    def __post_init__(self) -> None:
        if self.segmentation not in ("vad", "even"):
            raise InputError(f"segmentation {self.segmentation!r}: expected vad or even")
        if self.max_seconds < 1.0 or self.min_pause <= 0 or self.padding < 0:
            raise InputError(
                f"max_seconds {self.max_seconds}, min_pause {self.min_pause}, padding {self.padding}: expected at "
                "least 1 s, more than 0 s and at least 0 s"
            )


def cut(blocks: Iterable[np.ndarray], config: CutConfig) -> Iterator[Piece]:
    """Cut a recording into pieces.

    Args:
        blocks: Its samples (S,) in order, 16 kHz.
        config: How.

    Yields:
        The pieces, in order. None if no speech is found.

    Raises:
        ValueError: silero-vad is needed and not installed.
    """
    blocks = iter(blocks)
    if config.keeps_short:
        first, is_whole = _read_ahead(blocks, round(config.max_seconds * SAMPLE_RATE))
        if is_whole:
            if len(first) and _may_hold_speech(first, config):
                yield Piece(0.0, len(first) / SAMPLE_RATE, first)
            return
        blocks = itertools.chain([first], blocks)
    is_even = config.segmentation == "even"
    yield from _Cutter(config, energy if is_even else silero_detector()).run(blocks)


def _may_hold_speech(waveform: np.ndarray, config: CutConfig) -> bool:
    """Whether a short recording is worth translating."""
    if not config.checks_short or config.segmentation != "vad" or not has_silero():
        return True
    detect = silero_detector()
    frames = np.pad(waveform, (0, -len(waveform) % FRAME)).reshape(-1, FRAME)
    heard = (detect(frame) >= config.threshold for frame in frames)
    return sum(itertools.islice(filter(None, heard), LEAST_SPEECH_FRAMES)) == LEAST_SPEECH_FRAMES


def _read_ahead(blocks: Iterator[np.ndarray], num_samples: int) -> tuple[np.ndarray, bool]:
    """Read until there are more samples than a number; return them, and whether the recording ended before."""
    read: list[np.ndarray] = [np.zeros(0, np.float32)]
    total = 0
    for block in blocks:
        read.append(block)
        total += len(block)
        if total > num_samples:
            return np.concatenate(read), False
    return np.concatenate(read), True


class _Cutter:
    """The state of cutting: samples and detected values from `offset` on, in frames.

    Args:
        config: How to cut.
        detect: What says how much a frame sounds like speech.
    """

    def __init__(self, config: CutConfig, detect: Detector) -> None:
        self.config, self.detect = config, detect
        self.is_even = config.segmentation == "even"
        self.audio = np.zeros(0, np.float32)
        self.values: list[float] = []  # of the whole frames in `audio`
        self.offset = 0  # frames before `audio`
        self.is_open = self.is_even  # a piece has begun; it begins at the first frame of `audio`
        self.num_silent = 0  # frames without speech at the end
        self.max_frames = int(config.max_seconds / FRAME_SECONDS)
        self.pause_frames = max(1, round(config.min_pause / FRAME_SECONDS))
        self.pad_frames = round(config.padding / FRAME_SECONDS)

    def run(self, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """See `cut`."""
        for block in blocks:
            self.audio = np.concatenate((self.audio, np.asarray(block, np.float32)))
            while (len(self.values) + 1) * FRAME <= len(self.audio):
                yield from self._step(self._frame(len(self.values)))
        if len(self.audio) > len(self.values) * FRAME:  # the rest is less than a frame
            rest = self.audio[len(self.values) * FRAME :]
            yield from self._step(np.pad(rest, (0, FRAME - len(rest))))
        if self.is_open and self.values:
            yield from self._close(len(self.values) if self.is_even else self._padded_end())

    def _frame(self, index: int) -> np.ndarray:
        return self.audio[index * FRAME : (index + 1) * FRAME]

    def _step(self, frame: np.ndarray) -> Iterator[Piece]:
        """Take one more frame; give the piece that it ends."""
        value = self.detect(frame)
        self.values.append(value)
        if self.is_even:
            if len(self.values) >= self.max_frames:
                yield from self._close(self._quietest(4 * self.max_frames // 5), is_open=True)
            return
        if not self.is_open:
            if value >= self.config.threshold:
                self.is_open, self.num_silent = True, 0
            self._forget(len(self.values) - self.pad_frames - 1)
            return
        self.num_silent = 0 if value >= self.config.threshold - 0.15 else self.num_silent + 1
        if self.num_silent >= self.pause_frames:
            yield from self._close(self._padded_end())
        elif len(self.values) >= self.max_frames:
            yield from self._close(self._quietest(self.max_frames // 2), is_open=True)

    def _padded_end(self) -> int:
        """Where the open piece ends: some frames after its last speech."""
        return min(len(self.values), len(self.values) - self.num_silent + self.pad_frames)

    def _quietest(self, first: int) -> int:
        """The frame from `first` on that sounds least like speech, with its neighbours."""
        smooth = np.convolve(self.values, np.ones(5) / 5, mode="same")[first:-2]
        return first + int(smooth.argmin()) + 1

    def _close(self, end: int, is_open: bool = False) -> Iterator[Piece]:
        """End the open piece before frame `end`; the frames after it stay."""
        is_speech = self.is_even or sum(v >= self.config.threshold for v in self.values[:end]) >= LEAST_SPEECH_FRAMES
        if is_speech:
            start = self.offset * FRAME_SECONDS
            waveform = self.audio[: end * FRAME].copy()
            yield Piece(start, start + len(waveform) / SAMPLE_RATE, waveform)
        self.is_open = is_open
        self.num_silent = min(self.num_silent, len(self.values) - end)
        self._forget(end)
        if not is_open:
            self._forget(len(self.values) - self.pad_frames)

    def _forget(self, num_frames: int) -> None:
        """Drop the first frames."""
        if num_frames > 0:
            self.audio, self.values = self.audio[num_frames * FRAME :], self.values[num_frames:]
            self.offset += num_frames
