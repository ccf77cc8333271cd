"""Segments as text, TSV, JSON, or subtitles in SRT or WebVTT; as whole documents, or as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from speechllama.decode.cues import cut_into_cues

if TYPE_CHECKING:
    from speechllama.decode.long import Segment

FORMATS = ("text", "tsv", "json", "jsonl", "srt", "vtt")


def file_ending(kind: str) -> str:
    """The ending of a file that holds a document of this kind."""
    return "txt" if kind == "text" else kind


def render(segments: Iterable[Segment], kind: str) -> str:
    """Write a whole document.

    Args:
        segments: The segments of a recording, in order.
        kind: One of FORMATS.

    Returns:
        The document; it ends in a line break unless it is empty.
    """
    parts: list[str] = []
    writer = Writer(kind, parts.append)
    for segment in segments:
        writer.write(segment)
    writer.close()
    return "".join(parts)


class Writer:
    """Writes a document while its segments come.

    Segments without text are left out of text and subtitles, which have no way to say so; TSV and JSON have them.

    Args:
        kind: One of FORMATS.
        emit: Takes each part of the document.
        name: The recording, for TSV, text and JSON that hold several; "" leaves it out.
        has_header: Whether the document's first line, where it has one, is written.
    """

    def __init__(self, kind: str, emit: Callable[[str], object], name: str = "", has_header: bool = True) -> None:
        assert kind in FORMATS, kind
        self.kind, self.emit, self.name = kind, emit, name
        self.num_written = 0
        self.records: list[dict[str, Any]] = []
        if has_header and kind == "tsv":
            emit("\t".join([*(["file"] if name else []), "start", "end", "text"]) + "\n")
        if has_header and kind == "vtt":
            emit("WEBVTT\n\n")

    def write(self, segment: Segment) -> None:
        """Write one segment."""
        if self.kind == "json":
            self.records.append(to_record(segment))
        elif self.kind == "jsonl":
            self.emit(json.dumps({**self._named, **to_record(segment)}, ensure_ascii=False) + "\n")
        elif self.kind == "tsv":
            fields = [f"{segment.start:.3f}", f"{segment.end:.3f}", _one_line(segment.text)]
            self.emit("\t".join([*self._named.values(), *fields]) + "\n")
        elif segment.text:
            self.emit(self._as_text(segment) if self.kind == "text" else "".join(self._as_cues(segment)))

    def close(self) -> None:
        """Write what ends the document."""
        if self.kind == "json":
            text = " ".join(record["text"] for record in self.records if record["text"])
            document = {**self._named, "text": text, "segments": self.records}
            self.emit(json.dumps(document, ensure_ascii=False, indent=2) + "\n")

    @property
    def _named(self) -> dict[str, str]:
        return {"file": self.name} if self.name else {}

    def _as_text(self, segment: Segment) -> str:
        """A line for each hypothesis."""
        scores = [[f"{entry.score:.4f}"] if len(segment.nbest) > 1 else [] for entry in segment.nbest]
        lines = zip(segment.nbest, scores, strict=True)
        return "".join("\t".join([*self._named.values(), _one_line(e.text), *score]) + "\n" for e, score in lines)

    def _as_cues(self, segment: Segment) -> Iterator[str]:
        """Subtitles of two lines at most."""
        point = "," if self.kind == "srt" else "."
        text = _one_line(segment.text).replace("-->", "->")  # which would end a cue's text early
        for cue in cut_into_cues(segment.start, segment.end, text):
            self.num_written += 1
            number = f"{self.num_written}\n" if self.kind == "srt" else ""
            yield "\n".join([f"{number}{clock(cue.start, point)} --> {clock(cue.end, point)}", *cue.lines, "", ""])


def to_record(segment: Segment) -> dict[str, Any]:
    """A segment as JSON has it; other hypotheses than the best only where there are any."""
    record: dict[str, Any] = {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "score": segment.nbest[0].score if segment.nbest else None,
        "is_cut": segment.is_cut,
    }
    if len(segment.nbest) > 1:
        record["nbest"] = [{"text": entry.text, "score": entry.score} for entry in segment.nbest]
    return record


def clock(seconds: float, point: str) -> str:
    """Write seconds as 00:01:02.345, with a point or a comma before the milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
