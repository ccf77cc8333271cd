"""What is unusual about a recording and does not stop anything: samples -> findings, said once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.containers.parts import file_state

SILENT_PEAK = 1e-4  # -80 dB of full scale; three steps of 16 bits
QUIET = 1e-3  # -60 dB of full scale: louder samples are sound
LEADING_SECONDS = 3.0  # of silence, from which it is said
FULL_SCALE = 0.999
CLIPPED_SHARE = 1e-3  # of all samples
OFFSET = 0.05  # of full scale; 0.01 is what cheap sound cards have


class Kind(str, Enum):
    """What was found; the value is what a summary says."""

    JOINED = "joined recordings"
    UNUSUAL = "damaged or unfinished"
    CANCELLED = "channels that cancel each other"
    RESCALED = "float samples at the scale of 16 bits"
    SILENT = "silent"
    LATE = "silent at the beginning"
    CLIPPED = "clipped"
    OFFSET = "not centred on zero"
    DURATION = "of another duration than utt2dur has"


class Finding(NamedTuple):
    """A kind, and what was found in words: "3.2 % of its samples are at full scale"."""

    kind: Kind
    detail: str


class Tally:
    """Findings of many recordings, for one line at the end of a stage."""

    def __init__(self) -> None:
        self._first: dict[Kind, str] = {}
        self._counts: dict[Kind, int] = {}

    def add(self, name: str, findings: Iterable[Finding]) -> None:
        """Count the findings of a recording."""
        for finding in findings:
            self._counts[finding.kind] = self._counts.get(finding.kind, 0) + 1
            self._first.setdefault(finding.kind, f"{name}: {finding.detail}")

    def warn(self, where: str) -> None:
        """Say in one line what was found, how often, and an example of each."""
        if self._counts:
            told = "; ".join(f"{count:,} {kind.value} ({self._first[kind]})" for kind, count in self._counts.items())
            logging.warning("%s: used as they are: %s", where, told)


_said: dict[tuple[object, ...], None] = {}  # segments of one file have the same to say
MOST_SAID = 4096


def warn(path: Path, findings: Iterable[Finding]) -> None:
    """Say what was found in a recording, each kind once a file."""
    for kind, detail in findings:
        key = (path, *file_state(path), kind)
        if key not in _said:
            logging.warning("%s: %s", path, detail)
        _said[key] = None
        if len(_said) > MOST_SAID:
            del _said[next(iter(_said))]


class Listener:
    """Hears a recording block by block, and then says what is unusual about it."""

    def __init__(self) -> None:
        self.findings: dict[Kind, Finding] = {}
        self._num_clipped = self._num_decoded = self._num_samples = 0
        self._sum, self._low, self._high = 0.0, np.inf, -np.inf
        self._first_sound: int | None = None

    def note(self, kind: Kind, detail: str) -> None:
        """Add a finding; the first of each kind counts."""
        self.findings.setdefault(kind, Finding(kind, detail))

    def hear_decoded(self, samples: np.ndarray, peak: float) -> None:
        """Hear what was decoded, (S, channels) within about +-1, and its largest magnitude."""
        self._num_decoded += samples.size
        if peak >= FULL_SCALE:
            self._num_clipped += int((np.abs(samples) >= FULL_SCALE).sum())

    def hear(self, waveform: np.ndarray) -> None:
        """Hear what comes of it, (S,) at 16 kHz."""
        if not len(waveform):
            return
        self._sum += float(waveform.sum())
        self._low, self._high = min(self._low, float(waveform.min())), max(self._high, float(waveform.max()))
        if self._first_sound is None:
            head = waveform[: round(LEADING_SECONDS * SAMPLE_RATE)]  # in nearly every recording that is enough
            part = head if np.abs(head).max() > QUIET else waveform
            loud = np.abs(part) > QUIET
            self._first_sound = self._num_samples + int(loud.argmax()) if loud.any() else None
        self._num_samples += len(waveform)

    def report(self) -> tuple[Finding, ...]:
        """Give all findings of what was heard."""
        mean = self._sum / max(1, self._num_samples)
        if abs(mean) > OFFSET:
            self.note(Kind.OFFSET, f"its samples are not centred on zero, but on {mean:.2f} of full scale")
        leading = (self._first_sound or 0) / SAMPLE_RATE
        if max(mean - self._low, self._high - mean) <= SILENT_PEAK:
            self.note(Kind.SILENT, f"no sound in {self._num_samples / SAMPLE_RATE:.2f} s")
        elif leading >= LEADING_SECONDS:
            self.note(Kind.LATE, f"begins with {leading:.1f} s of silence")
        share = self._num_clipped / max(1, self._num_decoded)
        if share >= CLIPPED_SHARE:
            self.note(Kind.CLIPPED, f"clipped: {share:.1%} of its samples are at full scale")
        return tuple(self.findings.values())
