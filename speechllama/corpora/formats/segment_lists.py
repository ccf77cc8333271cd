"""Lists of the segments of recordings, as IWSLT publishes them, and lines of text: files -> Segment with file and line.

YAML, `- {duration: 3.5, offset: 16.08, speaker_id: spk.1, wav: ted_1.wav}`, or a table of names that may have speakers
and times: `ted_1.wav`, `ted_1.wav spk.1`, `ted_1.wav 16.08 19.58`, `ted_1.wav spk.1 16.08 19.58`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from speechllama.data.clips import AUDIO_SUFFIXES, clip_name
from speechllama.faults import InputError

CHUNK_LINES = 5000  # entries of YAML that are parsed at once: the nodes of a million would take gigabytes
# An entry as MuST-C writes it, whose values YAML takes as they are: MuST-C's 230,000 would take a parser a minute.
PLAIN = re.compile(r"- \{(\w+: [\w.+-]+, )*\w+: [\w.+-]+\}\s*")
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every value is text: a wav named 1e5 or 007 keeps its name


@dataclass(frozen=True, slots=True)
class Segment:
    """An entry of a list, and where it is; `fault` is what is wrong with it."""

    where: str
    wav: str = ""
    speaker: str = ""
    start: float = 0.0
    end: float | None = None
    fault: str = ""

    @property
    def name(self) -> str:
        """The recording, without folder and suffix."""
        return clip_name(Path(self.wav).name)


def read_lines(path: Path) -> list[str]:
    r"""Read the lines of a text; only "\n" ends a line: U+2028 and form feeds are in real translations.

    Raises:
        ValueError: A line is not UTF-8.
    """
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"{path}:{number}: not UTF-8 ({error.reason}): {line[:60]!r}") from error
    return texts


def read_segments(path: Path) -> Iterator[Segment]:
    """Read a list of segments.

    Raises:
        ValueError: It is no list, or not UTF-8.
    """
    lines = read_lines(path)
    if path.suffix in (".yaml", ".yml"):
        for number, entry in _read_yaml(path, lines):
            yield _from_entry(f"{path}:{number}", entry)
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _from_fields(f"{path}:{number}", _split(line.strip()))


def _split(line: str) -> list[str]:
    """Split a line of a table, at tabs if it has any; else a name with spaces ends with the suffix of a recording."""
    if "\t" in line:
        return line.split("\t")
    fields = line.split()
    end = max((index for index, field in enumerate(fields) if field.lower().endswith(AUDIO_SUFFIXES)), default=0)
    return [" ".join(fields[: end + 1]), *fields[end + 1 :]]


def _read_yaml(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    """Give the entries of a YAML list with the numbers of their lines; None for one that is no mapping of texts.

    It is parsed in parts, which begin with an entry.
    """
    starts = [number for number, line in enumerate(lines) if line.startswith("- ")][::CHUNK_LINES] or [0]
    for first, last in zip([0, *starts[1:]], [*starts[1:], len(lines)], strict=True):
        if all(map(PLAIN.fullmatch, lines[first:last])):
            for number, line in enumerate(lines[first:last], first + 1):
                yield number, dict(pair.split(": ") for pair in line.strip()[3:-1].split(", "))
            continue
        try:
            part = yaml.compose("\n".join(lines[first:last]) + "\n", LOADER)
        except yaml.MarkedYAMLError as error:
            number = first + 1 + (error.problem_mark.line if error.problem_mark else 0)
            raise InputError(f"{path}:{number}: bad YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise InputError(f"{path}:{first + 1}: bad YAML in this line or a later one: {error}") from error
        if part is None:
            continue
        if not isinstance(part, yaml.SequenceNode):
            raise InputError(
                f"{path}:{first + 1}: expected a list of segments, as - {{wav: ted_1.wav, offset: 0, duration: 3.5}}"
            )
        for node in part.value:
            yield first + 1 + node.start_mark.line, _to_texts(node)


def _to_texts(node: yaml.Node) -> Mapping[str, str] | None:
    """Give the keys and values of an entry; None if it is no mapping of texts."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return {key.value: value.value for key, value in node.value if isinstance(value, yaml.ScalarNode)}


def _from_entry(where: str, entry: Mapping[str, str] | None) -> Segment:
    """Read an entry of a YAML list; without a duration it ends with its recording."""
    if entry is None or not entry.get("wav"):
        return Segment(where, fault="no wav; expected {duration, offset, speaker_id, wav}")
    start, duration = _seconds(entry.get("offset", "0")), _seconds(entry.get("duration", "inf"))
    if not 0 <= start < math.inf or not duration > 0:
        found = f"offset {entry.get('offset')!r}, duration {entry.get('duration')!r}"
        return Segment(where, fault=f"{found}; expected seconds, the offset from 0 on, the duration above 0")
    end = start + duration if duration < math.inf else None
    return Segment(where, entry["wav"], entry.get("speaker_id", ""), start, end)


def _from_fields(where: str, fields: Sequence[str]) -> Segment:
    """Read a line of a table: recording, perhaps speaker, perhaps start and end."""
    times = [*map(_seconds, fields[-2:])] if len(fields) > 2 else []
    start, end = times or (0.0, None)
    if len(fields) > 4 or (end is not None and not 0 <= start < end < math.inf):
        return Segment(where, fault=f"{' '.join(fields)!r}; expected 'recording [speaker] [start end]' in seconds")
    return Segment(where, fields[0], fields[1] if len(fields) in (2, 4) else "", start, end)


def _seconds(value: str) -> float:
    """Read a number; nan for what is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan
