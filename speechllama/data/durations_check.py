"""Compare a data directory with its recordings: segments and utt2dur -> faults, from the headers of audio files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from speechllama.data.clips import read_durations
from speechllama.data.decoding import HEADER_SLACK_SAMPLES
from speechllama.data.recordings import NOT_ALLOWED, TO_THE_END, Segment, is_command
from speechllama.data.scanned_table import Fault, Repair, ScannedTable
from speechllama.faults import InputError

NUM_HEADERS = 2000  # of recordings that are utterances: a million headers on a shared disk take an hour
NUM_THREADS = 8
# What an encoder's padding and a length estimated from the bit rate explain.
TOLERANCE_SECONDS, TOLERANCE_SHARE = 0.5, 0.1
HIGHEST_RATE = 96000  # Hz: at which HEADER_SLACK_SAMPLES, which reading forgives, are shortest
SLACK_SECONDS = HEADER_SLACK_SAMPLES / HIGHEST_RATE
MAX_OVERSHOOT = 0.5  # seconds: Kaldi's extract-segments cuts such a segment, and leaves out one that is longer
BEYOND, COMMAND = "segment beyond the recording", "command in wav.scp"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Checks:
    """How a data directory is checked.

    Attributes:
        allow_commands: Commands in wav.scp will be run, so they are no fault.
        num_headers: Utterances whose utt2dur is compared with the recording's header; 0: all.
    """

    allow_commands: bool = False
    num_headers: int = NUM_HEADERS


def spread(items: Sequence[Item], number: int) -> list[Item]:
    """Take so many items at even distances; all of them where there are no more, or with 0."""
    if number < 1 or number >= len(items):
        return list(items)
    return [items[index * len(items) // number] for index in range(number)]


def read_lengths(tables: Mapping[str, ScannedTable]) -> dict[str, float]:
    """Give the seconds of each recording that segments name, from its header; none where there are no segments."""
    if "segments" not in tables:
        return {}
    wav_scp, named = tables["wav.scp"], {value.partition(" ")[0] for value in tables["segments"].values.values()}
    names = sorted(name for name in named if _is_file(wav_scp.values.get(name, "")))
    return _read([wav_scp.values[name] for name in names], names)


def check_audio(tables: Mapping[str, ScannedTable], lengths: Mapping[str, float], checks: Checks) -> Iterator[Fault]:
    """Each recording is there, and each segment is inside its recording, whose length `read_lengths` gave."""
    wav_scp, segments = tables["wav.scp"], tables.get("segments")
    faulty = {key: lost for key, value in wav_scp.values.items() if (lost := _find_missing(value, checks))}
    if segments is None:
        for key, (kind, why) in faulty.items():
            dropped = None if kind == COMMAND else key
            yield Fault(kind, wav_scp.where(key), f"{key!r} has {why}", dropped)
        return
    parsed: dict[str, Segment] = {}
    for key, value in segments.values.items():
        try:
            segment = Segment.parse(value)
        except InputError as error:
            yield Fault("bad segment", segments.where(key), f"{key!r} has {error}", key)
            continue
        if segment.recording not in wav_scp.values:
            found = f"{key!r} names {segment.recording!r}, not in {wav_scp.path}"
            yield Fault("bad segment", segments.where(key), found, key)
        elif segment.recording in faulty:
            kind, why = faulty[segment.recording]
            dropped = None if kind == COMMAND else key
            yield Fault(kind, wav_scp.where(segment.recording), f"{key!r} needs {why}", dropped)
        else:
            parsed[key] = segment
    yield from _check_ends(segments, parsed, lengths)


def check_durations(
    tables: Mapping[str, ScannedTable], lengths: Mapping[str, float], checks: Checks
) -> Iterator[Fault]:
    """The table utt2dur says what segments and recordings say; of recordings without segments a part is looked at."""
    utt2dur, wav_scp, segments = (tables.get(name) for name in ("utt2dur", "wav.scp", "segments"))
    if utt2dur is None or wav_scp is None:
        return
    stated = {key: seconds for key, value in utt2dur.values.items() if (seconds := _seconds(value)) > 0}
    measured = dict[str, float]()
    if segments is not None:
        for key in segments.values.keys() & stated.keys():
            try:
                segment = Segment.parse(segments.values[key])
            except InputError:
                continue
            end = lengths.get(segment.recording, 0.0) if segment.end is None else segment.end
            if end > segment.start:
                measured[key] = end - segment.start
    else:
        places = {key: wav_scp.values[key] for key in stated if _is_file(wav_scp.values.get(key, ""))}
        chosen = choose(stated, places, checks.num_headers)
        measured = _read([places[key] for key in chosen], chosen)
    for key, seconds in measured.items():
        if abs(stated[key] - seconds) > max(TOLERANCE_SECONDS, TOLERANCE_SHARE * seconds):
            source = "its segment has" if segments is not None else f"{wav_scp.values[key]} has"
            found = f"{key!r} has {utt2dur.values[key]}, {source} {seconds:.2f} s; --fix writes that"
            yield Fault("wrong duration", utt2dur.where(key), found, repair=Repair("utt2dur", key, f"{seconds:.3f}"))


def choose(stated: Mapping[str, float], among: Mapping[str, str], number: int) -> list[str]:
    """Choose utterances: those that are stated to be longest and shortest, and others at even distances between."""
    ordered = sorted(among, key=lambda key: (stated[key], key))
    if number < 1 or number >= len(ordered):
        return ordered
    edge = number // 4
    last = len(ordered) - edge
    return [*ordered[:edge], *spread(ordered[edge:last], number - 2 * edge), *ordered[last:]]


def _check_ends(segments: ScannedTable, parsed: Mapping[str, Segment], lengths: Mapping[str, float]) -> Iterator[Fault]:
    """Segments within their recordings, of those whose length is known."""
    for key, segment in parsed.items():
        length = lengths.get(segment.recording)
        if length is None:
            continue
        last = segment.start if segment.end is None else segment.end
        if segment.start >= length or last > length + SLACK_SECONDS:
            found = f"{key!r} has {segments.values[key]!r}, the recording ends at {length:.2f} s; --fix"
            if segment.start < length and last <= length + MAX_OVERSHOOT:
                cut = Repair("segments", key, f"{segment.recording} {segment.start:g} {TO_THE_END:g}")
                yield Fault(BEYOND, segments.where(key), f"{found} cuts it there", repair=cut)
            else:
                yield Fault(BEYOND, segments.where(key), f"{found} drops it", key)


def _read(places: Sequence[str], keys: Sequence[str]) -> dict[str, float]:
    """Read durations from headers; recordings that cannot be read are left out, since stage features names them."""
    found = zip(keys, read_durations(places, NUM_THREADS), strict=True)
    return {key: seconds for key, seconds in found if isinstance(seconds, float)}


def _find_missing(place: str, checks: Checks) -> tuple[str, str] | None:
    """What is wrong with a value of wav.scp: the kind of the fault and the value."""
    if is_command(place):
        return None if checks.allow_commands else (COMMAND, f"{place!r}, {NOT_ALLOWED}")
    return None if _is_file(place) else ("no recording", f"{place!r}, no such file")


def _is_file(place: str) -> bool:
    return bool(place) and not is_command(place) and Path(place).is_file()


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
