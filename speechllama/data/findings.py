"""What is unusual about a recording and does not stop anything: samples -> findings, said once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import numpy as np

from speechllama.constants import SAMPLE_RATE

SILENT_PEAK = 1e-4  # -80 dB of full scale; three steps of 16 bits
QUIET = 1e-3  # -60 dB of full scale: louder samples are sound
LEADING_SECONDS = 3.0  # of silence, from which it is said
FULL_SCALE = 0.999
CLIPPED_SHARE = 1e-3  # of all samples
OFFSET = 0.05  # of full scale; 0.01 is what cheap sound cards have
SILENT_CHANNEL = 1e-6  # power of a channel without sound, as a share of the loudest channel's
CANCELLED = 1e-2  # power of the mean of all channels, as a share of theirs; channels of independent noise give 1 / C


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


_said: dict[tuple[str, Kind], None] = {}  # segments of one file have the same to say
MOST_SAID = 4096


def warn(path: str, findings: Iterable[Finding]) -> None:
    """Say what was found in a recording, each kind once a file."""
    for kind, detail in findings:
        if (path, kind) not in _said:
            logging.warning("%s: %s", path, detail)
        _said[path, kind] = None
        if len(_said) > MOST_SAID:
            del _said[next(iter(_said))]


def mix(samples: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """Make one channel of several: their mean, without those that have no sound; the loudest if they cancel.

    Args:
        samples: (S, channels), float.

    Returns:
        Samples (S,), float32, and what was found.
    """
    if samples.shape[1] == 1:
        return samples[:, 0], []
    powers = np.square(samples).mean(axis=0, dtype=np.float64)
    sounding = powers > SILENT_CHANNEL * powers.max()
    if not sounding.any():
        return np.ascontiguousarray(samples[:, 0]), []
    mono = (samples if sounding.all() else samples[:, sounding]).mean(axis=1, dtype=np.float32)
    if np.square(mono).mean(dtype=np.float64) >= CANCELLED * powers[sounding].mean():
        return mono, []
    loudest = int(powers.argmax())
    detail = f"its {samples.shape[1]} channels cancel each other (one is inverted?); channel {loudest + 1} is taken"
    return np.ascontiguousarray(samples[:, loudest]), [Finding(Kind.CANCELLED, detail)]


def judge(waveform: np.ndarray) -> list[Finding]:
    """Find silence, clipping and an offset.

    Args:
        waveform: Samples (S,) at 16 kHz, at least one.
    """
    low, high = float(waveform.min()), float(waveform.max())
    mean = float(waveform.mean())
    found = []
    if abs(mean) > OFFSET:
        found.append(Finding(Kind.OFFSET, f"its samples are not centred on zero, but on {mean:.2f} of full scale"))
    low, high = low - mean, high - mean
    if max(-low, high) <= SILENT_PEAK:
        return [*found, Finding(Kind.SILENT, f"no sound in {len(waveform) / SAMPLE_RATE:.2f} s")]
    if np.abs(waveform[: round(LEADING_SECONDS * SAMPLE_RATE)]).max() <= QUIET:
        leading = int(np.argmax(np.abs(waveform) > QUIET)) / SAMPLE_RATE
        if leading >= LEADING_SECONDS:
            found.append(Finding(Kind.LATE, f"begins with {leading:.1f} s of silence"))
    return found


def judge_clipping(samples: np.ndarray, peak: float) -> list[Finding]:
    """Find out whether more than single samples are at full scale.

    Args:
        samples: As they were decoded, (S, channels), within about +-1.
        peak: The largest magnitude.
    """
    if peak < FULL_SCALE:
        return []
    share = float((np.abs(samples) >= FULL_SCALE).mean())
    if share < CLIPPED_SHARE:
        return []
    return [Finding(Kind.CLIPPED, f"clipped: {share:.1%} of its samples are at full scale")]
