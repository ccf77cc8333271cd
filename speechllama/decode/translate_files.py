"""Translate many recordings of any length: files -> pieces -> batches across files -> a document of each.

A file that cannot be read or translated is one line on stderr; the others are done.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from speechllama.data.audio import read_duration
from speechllama.data.blocks import Counted, read_blocks
from speechllama.decode.long import LongConfig, Segment, warn_if_cut
from speechllama.decode.microphone import load_sounddevice, record
from speechllama.decode.segmenter import Piece, cut
from speechllama.decode.speech2text import NBest, Speech2Text
from speechllama.decode.subtitles import Writer, file_ending
from speechllama.faults import name_file
from speechllama.files import atomic_write
from speechllama.options import UsageError
from speechllama.progress import print_result, progress

# What ends one recording and not the run. torch raises RuntimeError for what a GPU or a kernel refuses.
FILE_FAULTS = (ValueError, OSError, RuntimeError, MemoryError)
SINGLE = ("json", "srt", "vtt")  # documents that hold one recording


@dataclass(frozen=True)
class FilesJob:
    """What to translate and where to.

    Attributes:
        paths: The recordings.
        kind: One of FORMATS.
        output_dir: Where a document of each recording goes; "" for stdout.
        language: Source language code, if the prompt names it.
        target: Code of the language to write, for a model that writes several; "" for its own.
        long: How recordings are cut.
    """

    paths: Sequence[str] = ()
    kind: str = "text"
    output_dir: str = ""
    language: str = ""
    target: str = ""
    long: LongConfig = field(default_factory=LongConfig)

    def document(self, path: str) -> Path:
        """The document of a recording in `output_dir`."""
        return Path(self.output_dir) / f"{Path(path).stem}.{file_ending(self.kind)}"


class _Event(NamedTuple):
    """What reading the recordings gives, in order.

    Attributes:
        number: Which recording, from 0.
        seconds: How much of it was read since the event before.
        piece: A piece of it; None if the recording fails here or has ended.
        error: Why it fails.
        end: Its duration, if it has ended.
    """

    number: int
    seconds: float
    piece: Piece | None = None
    error: Exception | None = None
    end: float = 0.0


def check_job(job: FilesJob, has_microphone: bool = False) -> None:
    """Refuse what cannot be meant, before a model is loaded.

    Raises:
        ValueError: No recording, or both some and the microphone; several recordings in one document of a kind that
            holds one; or two that would be written to one file.
    """
    if has_microphone:
        if job.paths or job.output_dir:
            raise UsageError("--microphone takes no recordings and no --output_dir; the text goes to stdout")
        load_sounddevice()
        return
    if not job.paths:
        raise UsageError("no recording: name some files, or give --microphone")
    if not job.output_dir and job.kind in SINGLE and len(job.paths) > 1:
        raise UsageError(
            f"--format {job.kind}: a document holds one recording, and there are {len(job.paths)}; give --output_dir"
        )
    documents: dict[Path, str] = {}
    for path in job.paths if job.output_dir else ():
        other = documents.setdefault(job.document(path), path)
        if other != path:
            raise UsageError(f"{other} and {path} would both be written to {job.document(path)}; translate one by one")


def translate_files(translator: Speech2Text, job: FilesJob) -> int:
    """Translate recordings.

    Args:
        translator: The system.
        job: What to translate.

    Returns:
        How many recordings failed.
    """
    return _Files(translator, job).run()


def translate_microphone(translator: Speech2Text, job: FilesJob) -> int:
    """Translate what is spoken now, segment by segment, until Ctrl-C.

    A segment that cannot be translated is one line on stderr; what is said after it is translated.

    Returns:
        The exit status, 1 if a segment has failed.
    """
    writer = Writer(job.kind, print_result)
    num_pieces, status, blocks = 0, 0, Counted(record())
    for piece in cut(blocks, replace(job.long, keeps_short=False)):
        num_pieces += 1
        try:
            (nbest,) = translator.batch([piece.waveform], [job.language], [job.target])
        except FILE_FAULTS as error:
            where = f"microphone, {piece.start:.1f} to {piece.end:.1f} s"
            print(f"ERROR: {describe(where, error)}", file=sys.stderr)
            status = 1
            continue
        segment = Segment(piece.start, piece.end, nbest)
        warn_if_cut("microphone", segment, translator)
        writer.write(segment)
    if not num_pieces:
        writer.write(Segment(0.0, blocks.seconds, []))
    writer.close()
    return status


class _Document:
    """The document of a recording, written to stdout as it comes, or to a file when it is whole."""

    def __init__(self, job: FilesJob, path: str, has_header: bool) -> None:
        self.job, self.path = job, path
        self.parts: list[str] = []
        self.is_heard = self.has_text = self.is_started = False
        name = "" if job.output_dir else path
        self.writer = Writer(job.kind, self.parts.append if job.output_dir else print_result, name, has_header)

    def write(self, segment: Segment) -> None:
        """Add a segment."""
        self.is_started = True
        self.is_heard |= bool(segment.nbest)
        self.has_text |= bool(segment.text)
        self.writer.write(segment)

    def close(self, seconds: float) -> None:
        """Finish it; a recording without speech has one segment without text."""
        if not self.is_started:
            self.writer.write(Segment(0.0, seconds, []))
        if not self.is_heard:
            logging.warning("%s: nothing was heard: it is silent, or holds no speech", self.path)
        elif not self.has_text:
            logging.warning("%s: the model's best text for it is empty", self.path)
        self.writer.close()
        if self.job.output_dir:
            with atomic_write(self.job.document(self.path)) as stream:
                stream.write("".join(self.parts))


class _Files:
    """The state of translating several recordings."""

    def __init__(self, translator: Speech2Text, job: FilesJob) -> None:
        self.translator, self.job = translator, job
        self.failed: set[int] = set()
        self.documents: dict[int, _Document] = {}
        self.has_header = True  # what is written first needs one

    def run(self) -> int:
        """See `translate_files`."""
        batches = progress(
            self._batches(), total_seconds(self.job.paths), "s of audio", lambda events: sum(e.seconds for e in events)
        )
        for events in batches:
            pieces = [event.piece for event in events if event.piece is not None]
            found = iter(self._translate(pieces))
            for event in events:
                self._take(event, next(found) if event.piece is not None else None)
        return len(self.failed)

    def _batches(self) -> Iterator[list[_Event]]:
        """Events in order, with at most as many pieces as a batch has; several short recordings share one."""
        events: list[_Event] = []
        num_pieces = 0
        for event in self._events():
            events.append(event)
            num_pieces += event.piece is not None
            if num_pieces == self.job.long.batch_size:
                yield events
                events, num_pieces = [], 0
        yield events

    def _events(self) -> Iterator[_Event]:
        """Read all recordings, one after the other."""
        for number, path in enumerate(self.job.paths):
            blocks, told = Counted(read_blocks(path)), 0.0
            try:
                for piece in cut(blocks, self.job.long):
                    if number in self.failed:
                        break
                    yield _Event(number, blocks.seconds - told, piece)
                    told = blocks.seconds
            except FILE_FAULTS as error:
                yield _Event(number, blocks.seconds - told, error=error)
            else:
                yield _Event(number, blocks.seconds - told, end=blocks.seconds)

    def _translate(self, pieces: Sequence[Piece]) -> list[NBest | Exception]:
        """Translate pieces together; if that fails, one by one, so that only those at fault fail."""
        languages, targets = ([code] * len(pieces) for code in (self.job.language, self.job.target))
        try:
            return [*self.translator.batch([piece.waveform for piece in pieces], languages, targets)]
        except FILE_FAULTS as error:
            if len(pieces) == 1:
                return [error]
        return [self._translate([piece])[0] for piece in pieces]

    def _take(self, event: _Event, found: NBest | Exception | None) -> None:
        """Write what an event has brought."""
        path = self.job.paths[event.number]
        error = found if isinstance(found, Exception) else event.error
        if event.number in self.failed:
            return
        if error is not None:
            self.failed.add(event.number)
            print(f"ERROR: {describe(path, error)}", file=sys.stderr)
            return
        if event.number not in self.documents:
            self.documents[event.number] = _Document(self.job, path, self.has_header)
            self.has_header = bool(self.job.output_dir)
        document = self.documents[event.number]
        if event.piece is not None and not isinstance(found, Exception):
            segment = Segment(event.piece.start, event.piece.end, found or [])
            warn_if_cut(path, segment, self.translator)
            document.write(segment)
        else:
            document.close(event.end)
            del self.documents[event.number]


def describe(path: str, error: Exception) -> str:
    """Say what is wrong with a recording; faults that are not ours have their kind in front."""
    text = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
    return name_file(path, text)


def total_seconds(paths: Sequence[str]) -> float:
    """Duration of all recordings that have one; what ends one of them is met again, and said, when its turn comes."""
    total = 0.0
    for path in paths:
        with contextlib.suppress(*FILE_FAULTS):
            total += read_duration(path)
    return total
