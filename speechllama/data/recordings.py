"""The recordings of a data directory: wav.scp and segments -> waveforms (S,) of utterances.

wav.scp   utterance or recording -> path, or "command |" whose output is a recording
segments  utterance -> recording, start, end in seconds; the end -1 is that of the recording
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechllama.data.audio import read_audio
from speechllama.faults import InputError

TO_THE_END = -1.0  # Kaldi's end of a segment that ends with its recording
NOT_ALLOWED = "a command, which runs only with --allow_commands true"


@dataclass(frozen=True)
class Segment:
    """A part of a recording, in seconds; `end` is None where it ends with the recording."""

    recording: str
    start: float
    end: float | None

    @classmethod
    def parse(cls, value: str) -> Segment:
        """Read a value of the table segments.

        Raises:
            ValueError: It is not "recording start end" with 0 <= start < end, or end -1.
        """
        fields = value.split()
        if len(fields) == 3:
            start, end = _number(fields[1]), _number(fields[2])
            if end == TO_THE_END and 0 <= start < math.inf:
                return cls(fields[0], start, None)
            if 0 <= start < end < math.inf:
                return cls(fields[0], start, end)
        raise InputError(
            f"{value!r}, expected 'recording start end' with 0 <= start < end; the end -1 is the recording's"
        )


def is_command(place: str) -> bool:
    """Whether a value of wav.scp is a command, whose output is the recording."""
    return place.endswith("|")


@dataclass
class Recordings:
    """Reads the utterances of a data directory.

    Attributes:
        places: The table wav.scp.
        segments: The table segments; empty where each utterance is a recording.
        allow_commands: Run the commands of wav.scp. They can do whatever the user can.
    """

    places: Mapping[str, str]
    segments: Mapping[str, str] = field(default_factory=dict)
    allow_commands: bool = False
    _output: tuple[str, Any] = ("", None)  # of the last command: segments of one recording are neighbours

    def read(self, utterance: str) -> np.ndarray:
        """Read an utterance as mono 16 kHz.

        Returns:
            The waveform (S,), float32.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It cannot be read, or its command is not allowed or fails.
        """
        value = self.segments.get(utterance)
        if value is None:
            return read_audio(self._file(self.places[utterance]))
        segment = Segment.parse(value)
        return read_audio(self._file(self.places[segment.recording]), segment.start, segment.end)

    def _file(self, place: str) -> str:
        """Give the file of a value of wav.scp; of a command a temporary file with its output."""
        if not is_command(place):
            return place
        if not self.allow_commands:
            raise InputError(f"{place!r} is {NOT_ALLOWED}")
        if self._output[0] != place:
            self._output = (place, _run(place))
        return str(self._output[1].name)


def _run(place: str) -> Any:
    """Run a command of wav.scp; give the open temporary file with its output."""
    command = place.removesuffix("|").strip()
    output = tempfile.NamedTemporaryFile(suffix=".wav")  # noqa: SIM115  # closed, and so removed, with its last reader
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        stdout=output,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise InputError(f"{command!r} failed with status {result.returncode}: {said[0]}")
    if not Path(output.name).stat().st_size:
        raise InputError(f"{command!r} wrote nothing to its standard output")
    return output


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan
