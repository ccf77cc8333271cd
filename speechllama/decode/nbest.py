"""N-best lists as decoding wrote them, read strictly: rescoring must not pass over a damaged line.

    nbest.jsonl -> {utterance: hypotheses, best first}
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllama.data.faults import first_ten
from speechllama.decode.decoded_parts import MERGED


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
        """Where it was made, for messages."""
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
        FileNotFoundError: Nothing was decoded into it, or not to the end.
        ValueError: Lines are not as decoding writes them: all are counted, the first ten named.
    """
    path = Path(decode_dir) / MERGED
    stage = stage_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no n-best hypotheses; decode this set first ({stage})")
    again = f"remove the file and run {stage} again"
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        raise ValueError(f"{path}:{len(lines)}: the last line has no end, so the file was cut; {again}")
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
        raise ValueError(f"{message}:{first_ten(faults)}")
    return found


def stage_of(path: Path) -> str:
    """Stage and system that write an n-best file."""
    return f"stage 11 of {path.parent.parent.name}"


def _read_line(line: bytes, keys: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """A line's JSON object and what is wrong with it."""
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
    scores = [entry["score"] for entry in record["nbest"]]
    if scores != sorted(scores, reverse=True):
        return f"utterance {record['utt']}: its hypotheses are not in the order of their scores"
    return ""


def _is_number(value: object) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
