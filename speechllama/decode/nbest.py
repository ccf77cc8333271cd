"""Hypotheses on disk: written in parts by parallel jobs, merged into what one job would write.

    nbest.J.jsonl -> nbest.jsonl, text, decode.json

The first line of each file is {"stamp": what the hypotheses depend on, "report": how they were made}, every further one
an utterance: {"utt", "nbest": [{"text", "tokens", "score"}, ...], "spent": seconds}. A hypothesis that the limit of
tokens ended has "is_cut": true, too, and one that minimum Bayes risk has ordered its "utility".
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.data.data_dir import read_data_dir
from speechllama.decode.control import find_audio
from speechllama.faults import InputError, MissingFileError, first_ten
from speechllama.files import atomic_write, write_json, write_table
from speechllama.text.runaway import describe_cut, is_runaway

MERGED = "nbest.jsonl"
TIMES = ("model", "audio")  # what a stamp has only the time of


@dataclass
class Part:
    """The content of a file.

    Attributes:
        stamp: What the hypotheses depend on; parts of one stamp belong together.
        report: How they were made: search, device, commit, command.
        records: The utterances, by their names.
    """

    stamp: Mapping[str, Any]
    report: Mapping[str, Any]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)


def decoded_part_path(output_dir: str | Path, job: int) -> Path:
    """Name the hypotheses of one part."""
    return Path(output_dir) / f"nbest.{job}.jsonl"


def read_parts(output_dir: Path) -> list[Part]:
    """Read all that was decoded into a directory, finished or not, with any settings."""
    paths = [output_dir / MERGED, *sorted(output_dir.glob("nbest.*.jsonl"))]
    return [part for path in paths if (part := read_part(path))]


def read_part(path: Path) -> Part | None:
    """Read one file; lines damaged by a kill or a full disk are left out and logged, since they can be decoded again.

    Returns:
        Its content; None if there is no file or its first line is damaged.
    """
    if not path.is_file():
        return None
    # A line counts once it ends in a line break; a job may still be writing the last one.
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        header = json.loads(lines[0])
        part = Part(header["stamp"], header.get("report", {}))
    except (IndexError, ValueError, KeyError, TypeError, AttributeError):
        count = max(len(lines) - 1, 0)
        logging.warning("%s:1: not a line that decoding wrote; its %d utterances are decoded again", path, count)
        return None
    for number, line in enumerate(lines[1:], 2):
        try:
            record = json.loads(line)
            part.records[record["utt"]] = {name: record[name] for name in ("utt", "nbest", "spent")}
        except (ValueError, KeyError, TypeError):
            logging.warning("%s:%d: not an utterance as decoding writes it; it is decoded again", path, number)
    return part


def read_stamp(path: Path) -> dict[str, Any]:
    """Read what the hypotheses of a finished file depend on, from its first line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Its first line is not as decoding writes it.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no n-best hypotheses; decode this set first ({stage_of(path)})")
    with path.open("rb") as stream:
        header, fault = _read_line(stream.readline(), ("stamp",))
    if fault:
        raise InputError(f"{path}:1: {fault}; remove the file and run {stage_of(path)} again")
    stamp: dict[str, Any] = header["stamp"]
    return stamp


def start_part(path: Path, part: Part) -> None:
    """Prepare a part's file for further lines: keep complete lines of the same stamp, remove all others."""
    before = read_part(path)
    if before and before.stamp == part.stamp:
        part = before
    write_part(path, part)


def warn_of_changes(output: Path, parts: Iterable[Part], stamp: Mapping[str, Any]) -> None:
    """Say of utterances that were decoded before why they are decoded again.

    Args:
        output: Where they are, for the message.
        parts: What is there.
        stamp: What hypotheses depend on now.
    """
    for part in parts:
        if part.stamp == stamp or not part.records or not isinstance(part.stamp, dict):
            continue
        before, now = ({**each, **each.get("search", {}), "search": None} for each in (part.stamp, stamp))
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        reasons = [
            f"another {name}" if name in TIMES else f"{name} {before.get(name)}, now {now.get(name)}"
            for name in changed
        ]
        count = len(part.records)
        logging.warning("%s: %d utterances are decoded again, they had %s", output, count, "; ".join(reasons))


def write_part(path: Path, part: Part) -> None:
    """Write a part, atomically."""
    with atomic_write(path) as stream:
        stream.write(json.dumps({"stamp": part.stamp, "report": part.report}, ensure_ascii=False) + "\n")
        for record in part.records.values():
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def merge_decoded(data_dir: str, output_dir: str | Path, num_jobs: int, control: bool) -> dict[str, Any]:
    """Merge the parts: nbest.jsonl by utterance, text (best hypotheses), and decode.json last.

    Args:
        data_dir: What was decoded.
        output_dir: Where the parts are.
        num_jobs: Their number.
        control: Whether each utterance was given another one's audio.

    Returns:
        The record written to decode.json. Times are the sum over all jobs, so the real-time factor is that of one.

    Raises:
        ValueError: A part is missing or of other settings, or an utterance is in none.
    """
    output = Path(output_dir)
    paths = [decoded_part_path(output, job) for job in range(1, num_jobs + 1)]
    parts = [read_part(path) for path in paths]
    missing = [str(path) for path, part in zip(paths, parts, strict=True) if part is None]
    if missing:
        raise InputError(f"{output}: {len(missing)} of {num_jobs} parts are missing:{first_ten(missing)}")
    own = [part for part in parts if part]
    others = [str(path) for path, part in zip(paths, own, strict=True) if part.stamp != own[0].stamp]
    if others:
        raise InputError(f"decoded with other settings than {paths[0]}; run these jobs again:{first_ten(others)}")
    records: dict[str, dict[str, Any]] = {}
    for part in [*read_parts(output), *own]:
        if part.stamp == own[0].stamp:
            records.update(part.records)
    audio = find_audio(read_data_dir(data_dir), control)
    lost = [utt for utt in audio.places if utt not in records]
    if lost:
        raise InputError(f"{output}: {len(lost):,} utterances are in no part; run the jobs again:{first_ten(lost)}")
    records = {utt: records[utt] for utt in sorted(audio.places, key=lambda name: name.encode())}
    report = make_report([part.report for part in own], records, sum(audio.seconds.values()))
    write_part(output / MERGED, Part(own[0].stamp, own[0].report, records))
    best = {utt: record["nbest"][0]["text"] if record["nbest"] else "" for utt, record in records.items()}
    write_table(output / "text", best)
    write_json(output / "decode.json", report)
    for path in output.glob("nbest.*.jsonl"):
        path.unlink()
    logging.info("%s: %d utterances, real-time factor %.4f", output, len(records), report["rtf"])
    warn_of_cut(output, report)
    return report


def make_report(
    reports: list[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], audio_seconds: float
) -> dict[str, Any]:
    """Return the content of decode.json: the parts' reports, with counts and times over all parts."""
    spent = sum(record["spent"] for record in records.values())
    counted = {
        "num_jobs": len(reports),
        "num_utterances": len(records),
        "audio_seconds": round(audio_seconds, 2),
        **count_cut(record["nbest"] for record in records.values()),
        "decode_seconds": round(spent, 2),
        "rtf": round(spent / audio_seconds, 5),
        "device": "; ".join(sorted({str(report["device"]) for report in reports})),
    }
    return {**reports[0], **counted}


def count_cut(nbests: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """Count the utterances whose first text was cut, and those of them that repeat themselves to the end."""
    cut = [nbest[0] for nbest in nbests if nbest and nbest[0].get("is_cut")]
    return {"num_cut": len(cut), "num_runaway": sum(is_runaway(entry["tokens"]) for entry in cut)}


def warn_of_cut(output: Path, report: Mapping[str, Any]) -> None:
    """Say how many texts of a decode.json the limit has cut."""
    if report["num_cut"]:
        counts = report["num_cut"], report["num_runaway"], report["num_utterances"]
        logging.warning("%s: %s", output, describe_cut(*counts))


@dataclass(frozen=True)
class NBest:
    """The hypotheses of a decoded set.

    Attributes:
        path: Their file.
        stamp: What they depend on.
        report: How they were made.
        entries: By utterance: {"text", "tokens", "score"} of each hypothesis, best first.
        spent: Seconds that each utterance took.
    """

    path: Path
    stamp: dict[str, Any]
    report: dict[str, Any]
    entries: dict[str, list[dict[str, Any]]]
    spent: dict[str, float]

    @property
    def stage(self) -> str:
        """The stage that wrote it, for messages."""
        return stage_of(self.path)

    def best(self) -> dict[str, str]:
        """The first text of each utterance, "" where it has no hypothesis."""
        return {utt: hypotheses[0]["text"] if hypotheses else "" for utt, hypotheses in self.entries.items()}


def read_nbest(decode_dir: str | Path) -> NBest:
    """Read a decoded set.

    Args:
        decode_dir: Decoding directory, finished (parts are merged).

    Returns:
        Its hypotheses.

    Raises:
        FileNotFoundError: Decoding has not finished there.
        ValueError: Lines are not as decoding writes them; the message counts them and names the first ten.
    """
    path = Path(decode_dir) / MERGED
    stage = stage_of(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no n-best hypotheses; decode this set first ({stage})")
    again = f"remove the file and run {stage} again"
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        raise InputError(f"{path}:{len(lines)}: the last line has no end, so the file was cut; {again}")
    header, fault = _read_line(lines[0], ("stamp", "report"))
    if not fault and not (isinstance(header["stamp"], dict) and isinstance(header["report"], dict)):
        fault = "stamp and report are no JSON objects"
    faults = [f"{path}:1: {fault}"] if fault else []
    found = NBest(path, header.get("stamp", {}), header.get("report", {}), {}, {})
    for number, line in enumerate(lines[1:-1], 2):
        record, fault = _read_line(line, ("utt", "nbest", "spent"))
        fault = fault or _fault_of(record)
        if not fault and record["utt"] in found.entries:
            fault = f"utterance {record['utt']} comes a second time"
        if fault:
            faults.append(f"{path}:{number}: {fault}")
            continue
        found.entries[record["utt"]] = record["nbest"]
        found.spent[record["utt"]] = record["spent"]
    if not faults and not found.entries:
        faults = [f"{path}: no utterance"]
    if faults:
        message = f"{len(faults):,} of {len(lines) - 1:,} lines are not as decoding writes them; {again}"
        raise InputError(f"{message}:{first_ten(faults)}")
    return found


def stage_of(path: Path) -> str:
    """Stage and system that write an n-best file."""
    return f"stage `decode` of {path.parent.parent.name}"


def _read_line(line: bytes, keys: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Return a line's JSON object and what is wrong with it."""
    try:
        record = json.loads(line)
    except ValueError as error:
        return {}, f"not JSON ({error})"
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    return (record if isinstance(record, dict) else {}), f"no {', '.join(missing)}" if missing else ""


def _fault_of(record: dict[str, Any]) -> str:
    """What is wrong with an utterance's record; "" where nothing is."""
    if not isinstance(record["utt"], str):
        return f"utt is {record['utt']!r}, expected an utterance's name"
    if not _is_number(record["spent"]):
        return f"utterance {record['utt']}: spent is {record['spent']!r}, expected seconds"
    if not isinstance(record["nbest"], list):
        return f"utterance {record['utt']}: nbest is no list"
    for rank, entry in enumerate(record["nbest"], 1):
        score = entry.get("score") if isinstance(entry, dict) else None
        if not _is_number(score):
            return f"utterance {record['utt']}, hypothesis {rank}: its score is {score!r}, expected a finite number"
        if not isinstance(entry.get("text"), str):
            return f"utterance {record['utt']}, hypothesis {rank}: no text"
    scores = [entry["score"] for entry in record["nbest"] if "utility" not in entry]
    if scores != sorted(scores, reverse=True):
        return f"utterance {record['utt']}: its hypotheses are not in the order of their scores"
    return ""


def _is_number(value: object) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
