"""Report on a prepared corpus: what was kept and what was dropped, by language and split.

    report.json: {"languages": {name: {
        "table": path, "targets": path, "rows": count, "warnings": [text],
        "dropped": {reason: {"count": count, "examples": [text]}}, "sentence_overlap": as dropped,
        "remarks": as dropped,
        "splits": {"train" | "dev" | "test": {"rows": count, "kept": count, "hours": h, "speakers": count,
                                              "dropped": as above}}}}}

Scoring reads `rows` of each split: how many utterances the corpus has, before anything was dropped. A recipe's own data
stage may write only that, {"train": count, "dev": count, "test": count}, or no such file; of any other form nothing is
read, and `check_report` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.constants import SPLITS
from speechllama.faults import NUM_SHOWN
from speechllama.files import atomic_write, read_json, write_json

FULL_SIZE_SHARE = 0.2  # below this share of the published utterances it is meant to be a sample
COUNT_TOLERANCE = 0.03  # later releases lack some clips, a few are always bad


@dataclass
class DropCounts:
    """Reasons for dropping, each with its count and first examples."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Count one."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < NUM_SHOWN:
            shown.append(example)

    def extend(self, reason: str, examples: Iterable[str]) -> None:
        """Count several of one reason."""
        for example in examples:
            self.add(reason, example)

    def to_dict(self) -> dict[str, Any]:
        """Give reason -> count and examples."""
        return {reason: {"count": count, "examples": self.examples[reason]} for reason, count in self.counts.items()}

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items())
        return f"; dropped {reasons}" if reasons else ""


@dataclass
class SplitReport:
    """One split of one language: rows of the corpus, what was kept of them, and why not all."""

    rows: int = 0
    kept: int = 0
    hours: float = 0.0
    speakers: int = 0
    dropped: DropCounts = field(default_factory=DropCounts)


@dataclass
class SourceReport:
    """One kind of data of one language: the corpus's own, transcripts as targets, or pseudo-labels.

    Attributes:
        name: The language as the corpus names it, and the kind if it is not the corpus's own.
        table: Path of the table with the sentences.
        targets: Path of the table with the targets; the same where one table has both.
        num_rows: Rows of `table`.
        dropped: Rows of which no split is known, and repeated rows.
        splits: By split.
        overlap: Sentences of train that are in dev or test too: count and examples.
        remarks: What is kept, and a reader should know: count and examples.
        published: Utterances of each split as the corpus publishes them; None where that is not known.
    """

    name: str
    table: str
    targets: str
    num_rows: int = 0
    dropped: DropCounts = field(default_factory=DropCounts)
    splits: dict[str, SplitReport] = field(default_factory=lambda: {name: SplitReport() for name in SPLITS})
    overlap: DropCounts = field(default_factory=DropCounts)
    remarks: DropCounts = field(default_factory=DropCounts)
    published: Mapping[str, int] | None = None

    def shown_splits(self) -> list[tuple[str, SplitReport]]:
        """Give the splits that this kind of data has."""
        return [(name, split) for name, split in self.splits.items() if split.rows or split.kept]

    def warnings(self) -> list[str]:
        """Name what looks wrong but may be meant."""
        expected = [name for name, split in self.splits.items() if split.rows or self.published]
        found = [f"{self.name} {name}: no utterance" for name in expected if not self.splits[name].kept]
        found += [f"{self.name}: {count:,} {what}" for what, count in self.overlap.counts.items()]
        found += [f"{self.name}: {count:,} {what}" for what, count in self.remarks.counts.items()]
        published = self.published or {}
        if sum(split.rows for split in self.splits.values()) < FULL_SIZE_SHARE * sum(published.values()):
            return found
        for name, count in published.items():
            kept = self.splits[name].kept
            if abs(kept - count) > COUNT_TOLERANCE * count:
                found.append(f"{self.name} {name}: kept {kept:,}, about {count:,} are published")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give what report.json holds."""
        return {
            "table": self.table,
            "targets": self.targets,
            "rows": self.num_rows,
            "dropped": self.dropped.to_dict(),
            "sentence_overlap": self.overlap.to_dict(),
            **({"remarks": self.remarks.to_dict()} if self.remarks.counts else {}),
            "warnings": self.warnings(),
            "splits": {
                name: {
                    "rows": split.rows,
                    "kept": split.kept,
                    "hours": round(split.hours, 4),
                    "speakers": split.speakers,
                    "dropped": split.dropped.to_dict(),
                }
                for name, split in self.splits.items()
            },
        }


def write_report(reports: Sequence[SourceReport], output_dir: Path, corpus: str) -> None:
    """Write report.json and report.md, with the corpus's name as the heading."""
    write_json(output_dir / "report.json", {"languages": {report.name: report.to_dict() for report in reports}})
    lines = [f"# {corpus}: what was kept and what was dropped", ""]
    lines += [
        "| language | split | rows | kept | hours | speakers | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        for name, split in report.shown_splits():
            reasons = "; ".join(f"{count:,} {reason}" for reason, count in split.dropped.counts.items()) or "-"
            counts = f"{split.rows:,} | {split.kept:,} | {split.hours:.2f} | {split.speakers:,}"
            lines.append(f"| {report.name} | {name} | {counts} | {reasons} |")
    for report in reports:
        lines += ["", f"## {report.name}", "", f"{report.num_rows:,} rows in {report.table}", ""]
        lines += [f"- WARNING {warning}" for warning in report.warnings()]
        drops = [("table", report.dropped), ("overlap", report.overlap), ("remark", report.remarks)]
        for name, drop in drops + [(name, split.dropped) for name, split in report.splits.items()]:
            for reason, count in drop.counts.items():
                lines.append(f"- {name}: {count:,} {reason}, first: {' / '.join(drop.examples[reason][:3])}")
    with atomic_write(output_dir / "report.md") as stream:
        stream.write("\n".join(lines) + "\n")


def read_rows(path: str | Path) -> dict[str, int] | None:
    """Read how many utterances the corpus has by set, from report.json; None where it has another form."""
    try:
        report = read_json(path)
        if "languages" not in report:
            return {name: int(value["rows"] if isinstance(value, dict) else value) for name, value in report.items()}
        rows: dict[str, int] = {}
        for language in report["languages"].values():
            for name, split in language["splits"].items():
                rows[name] = rows.get(name, 0) + int(split["rows"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return rows


def count_rows(path: str | Path, split: str) -> int:
    """Count a corpus's rows of a split by its report.json; 0 where there is none, or one of another form."""
    if not Path(path).is_file():
        return 0
    rows = read_rows(path)
    if rows is None:
        logging.warning("%s: not of the form that this package writes, so it counts no rows", path)
    return (rows or {}).get(split, 0)


def check_report(path: str | Path, kept: Mapping[str, int]) -> list[str]:
    """Say what scoring will not be able to use of a report.json, while it can still be changed.

    Args:
        path: The file; it need not exist.
        kept: Utterances of the data directories next to it, by set.

    Returns:
        Warnings; none of them is a fault.
    """
    if not Path(path).is_file():
        return []
    rows = read_rows(path)
    if rows is None:
        return [
            f'{path}: expected {{"train": count, "dev": count, "test": count}} or the form that recipes write; '
            "scores cannot say what the corpus lost"
        ]
    return [
        f"{path}: {rows[name]:,} utterances of {name}, found {count:,}; expected the number before any was dropped"
        for name, count in kept.items()
        if name in rows and rows[name] < count
    ]


def log_reports(reports: Sequence[SourceReport]) -> None:
    """Show what was kept, and every warning."""
    for report in reports:
        for name, split in report.shown_splits():
            logging.info(
                "%s %s: kept %s of %s, %.2f h, %d speakers%s",
                report.name,
                name,
                f"{split.kept:,}",
                f"{split.rows:,}",
                split.hours,
                split.speakers,
                split.dropped,
            )
        for warning in report.warnings():
            logging.warning("%s", warning)
