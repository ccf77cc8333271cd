"""The recordings of a data directory: wav.scp and segments -> waveforms (S,) of utterances, and findings.

wav.scp   utterance or recording -> path, or "command |" whose output is a recording
segments  utterance -> recording, start, end in seconds; the end -1 is that of the recording
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import Recording, load_recording
from speechllama.data.data_dir import DataDir
from speechllama.data.findings import Finding, Kind
from speechllama.faults import InputError

TO_THE_END = -1.0  # Kaldi's end of a segment that ends with its recording
DURATION_SLACK = 0.2  # seconds by which utt2dur may differ; durations of mp3 were once guessed of their size
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
        durations: The table utt2dur, to compare with; empty without one.
    """

    places: Mapping[str, str]
    segments: Mapping[str, str] = field(default_factory=dict)
    allow_commands: bool = False
    durations: Mapping[str, str] = field(default_factory=dict)
    _output: tuple[str, Any] = ("", None)  # of the last command: segments of one recording are neighbours

    @classmethod
    def of(cls, data: DataDir, allow_commands: bool = False) -> Recordings:
        """Take the tables of a data directory."""
        return cls(data.table("wav.scp"), data.table("segments"), allow_commands, data.table("utt2dur"))

    def place(self, utterance: str) -> str:
        """Give the value of wav.scp that an utterance is read from; "" where segments name none."""
        value = self.segments.get(utterance)
        return self.places.get(utterance if value is None else value.partition(" ")[0], "")

    def read(self, utterance: str) -> Recording:
        """Read an utterance as mono 16 kHz, and find what is unusual about it.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It cannot be read, its segment is none, or its command is not allowed or fails.
        """
        segment = self._segment(utterance)
        recording = load_recording(self._file(self.places[segment.recording]), segment.start, segment.end)
        stated, found = self.durations.get(utterance, ""), len(recording.waveform) / SAMPLE_RATE
        with contextlib.suppress(ValueError):  # it may have none, and what is no number is a matter of validation
            if abs(float(stated) - found) > DURATION_SLACK:
                differs = Finding(Kind.DURATION, f"{found:.2f} s, utt2dur has {stated}")
                return replace(recording, findings=(*recording.findings, differs))
        return recording

    def _segment(self, utterance: str) -> Segment:
        """Say which part of which recording an utterance is."""
        value = self.segments.get(utterance)
        if value is None:
            return Segment(utterance, 0.0, None)
        try:
            segment = Segment.parse(value)
        except InputError as error:
            raise InputError(f"segments: {utterance} has {error}") from error
        if segment.recording not in self.places:
            raise InputError(f"segments: {utterance} has {value!r}, expected 'recording start end' of one in wav.scp")
        return segment

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
