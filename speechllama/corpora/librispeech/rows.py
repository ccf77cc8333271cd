"""Read a part of LibriSpeech, and note every fault with its place.

<speaker>/<chapter>/{*.trans.txt, *.flac} -> Utterance(name, speaker, audio, text), reasons for dropping
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speechllama.data.clips import AUDIO_SUFFIXES
from speechllama.data.corpus_report import SplitReport

NO_AUDIO, NO_TRANSCRIPT = "transcript without audio", "audio without transcript"
EMPTY, BAD_LINE, FOREIGN = "empty text", "line that is no UTF-8", "transcript of another speaker or chapter"
DUPLICATE, TWO_RECORDINGS = "duplicate utterance", "second recording of an utterance"
UNREADABLE, NO_RESTORED = "unreadable audio", "not in the table of texts"
# Reasons that mean that the corpus is damaged.
FAULTS = (
    NO_AUDIO, NO_TRANSCRIPT, EMPTY, BAD_LINE, FOREIGN, DUPLICATE, TWO_RECORDINGS, UNREADABLE, NO_RESTORED,
)  # fmt: skip
TRANSCRIPTS = ".trans.txt"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance: its name, as 226-122538-0000, its speaker, its recording and its transcript."""

    name: str
    speaker: str
    audio: str
    text: str


def read_part(folder: Path, report_of: Callable[[str], SplitReport]) -> list[Utterance]:
    """Read all utterances of a part.

    Args:
        folder: The part's folder.
        report_of: Speaker -> the report that counts the rows and gets what was dropped, and why.

    Returns:
        The utterances that have a transcript and a recording, speaker by speaker.
    """
    found: list[Utterance] = []
    for speaker in sorted(path for path in folder.iterdir() if path.is_dir()):
        report = report_of(speaker.name)
        for chapter in sorted(path for path in speaker.iterdir() if path.is_dir()):
            found += _read_chapter(chapter, speaker.name, report)
    return found


def _read_chapter(chapter: Path, speaker: str, report: SplitReport) -> list[Utterance]:
    """Join the transcripts and the recordings of a chapter."""
    recordings: dict[str, str] = {}
    tables: list[Path] = []
    for path in sorted(chapter.iterdir()):
        if path.name.endswith(TRANSCRIPTS):
            tables.append(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            if path.stem in recordings:
                report.rows += 1
                report.dropped.add(TWO_RECORDINGS, f"{path}: {recordings[path.stem]} is read")
            recordings.setdefault(path.stem, str(path))
    found: dict[str, Utterance] = {}
    named: set[str] = set()  # also by a faulty line
    for where, name, text in _read_transcripts(tables, report):
        reason, what = _judge(name, text, f"{speaker}-{chapter.name}", named, recordings)
        named.add(name)
        if reason:
            report.dropped.add(reason, f"{where}: {what}")
        else:
            found[name] = Utterance(name, speaker, recordings[name], text)
    for name in sorted(recordings.keys() - named):
        report.rows += 1
        report.dropped.add(NO_TRANSCRIPT, f"{recordings[name]}: no line of {name} in the *{TRANSCRIPTS} next to it")
    return list(found.values())


def _read_transcripts(tables: list[Path], report: SplitReport) -> Iterator[tuple[str, str, str]]:
    """Give place, name and text of each line."""
    for table in tables:
        for number, raw in enumerate(table.read_bytes().splitlines(), 1):
            if not raw.strip():
                continue
            report.rows += 1
            try:
                name, _, text = raw.decode("utf-8").partition(" ")
            except UnicodeDecodeError as error:
                report.dropped.add(BAD_LINE, f"{table}:{number}: {raw[:60]!r} ({error.reason})")
                continue
            yield f"{table}:{number}", name, " ".join(text.split())


def _judge(name: str, text: str, owner: str, named: set[str], recordings: dict[str, str]) -> tuple[str, str]:
    """Say why a transcript cannot be used, and what was found; two empty texts if it can."""
    if not name.startswith(f"{owner}-"):
        return FOREIGN, f"{name!r}, expected {owner}-NUMBER"
    if name in named:
        return DUPLICATE, name
    if name not in recordings:
        return NO_AUDIO, name
    return ("", "") if text else (EMPTY, name)
