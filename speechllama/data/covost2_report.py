"""What became of CoVoST 2: counts by language and split -> report.json, report.md; shows a wrong corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.data.faults import NUM_SHOWN
from speechllama.files import atomic_write, write_json

# Utterances in train, dev, test of X->En as CoVoST 2 counts them (arXiv 2007.10310).
KNOWN_COUNTS = {"fr": (207_000, 14_800, 14_800), "de": (128_000, 13_500, 13_500)}
FULL_SIZE_SHARE = 0.2  # below this share of the published rows it is meant to be a sample
COUNT_TOLERANCE = 0.03  # the published counts are rounded, a few clips are always bad


@dataclass
class Drops:
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
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in self.counts.items()
        }

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items())
        return f"; dropped {reasons}" if reasons else ""


@dataclass
class SplitReport:
    """One split of one language: rows of CoVoST 2's table, what was kept of them, and why not all."""

    rows: int = 0
    kept: int = 0
    hours: float = 0.0
    speakers: int = 0
    dropped: Drops = field(default_factory=Drops)


@dataclass
class LanguageReport:
    """One language.

    Attributes:
        name: As in CoVoST 2.
        validated: Path of validated.tsv.
        table: Path of CoVoST 2's table.
        num_validated: Rows of validated.tsv.
        dropped: Rows of which no split is known, and repeated rows.
        splits: By split.
        overlap: Sentences of train that are in dev or test too: count and examples.
    """

    name: str
    validated: str
    table: str
    num_validated: int = 0
    dropped: Drops = field(default_factory=Drops)
    splits: dict[str, SplitReport] = field(
        default_factory=lambda: {name: SplitReport() for name in ("train", "dev", "test")}
    )
    overlap: Drops = field(default_factory=Drops)

    def note_overlap(self, sentences: Mapping[str, Sequence[str]]) -> None:
        """Count the sentences of train that dev or test have too; they are kept, as CoVoST 2 has them."""
        for split in ("dev", "test"):
            held_out = set(sentences[split])
            self.overlap.extend(
                f"train sentences are in {split} too", filter(held_out.__contains__, sentences["train"])
            )

    def warnings(self) -> list[str]:
        """Name what looks wrong but may be meant."""
        found = [f"{self.name} {name}: no utterance" for name, split in self.splits.items() if not split.kept]
        found += [f"{self.name}: {count:,} {what}" for what, count in self.overlap.counts.items()]
        known = KNOWN_COUNTS.get(self.name)
        if known is None or sum(split.rows for split in self.splits.values()) < FULL_SIZE_SHARE * sum(known):
            return found
        for (name, split), count in zip(self.splits.items(), known, strict=True):
            if abs(split.kept - count) > COUNT_TOLERANCE * count:
                found.append(f"{self.name} {name}: kept {split.kept:,}, CoVoST 2 has about {count:,}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give what report.json holds."""
        return {
            "validated": self.validated,
            "table": self.table,
            "num_validated": self.num_validated,
            "dropped": self.dropped.to_dict(),
            "sentence_overlap": self.overlap.to_dict(),
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


def write_report(reports: Sequence[LanguageReport], output_dir: Path) -> None:
    """Write report.json and report.md."""
    write_json(
        output_dir / "report.json", {"languages": {report.name: report.to_dict() for report in reports}}
    )
    lines = ["# CoVoST 2: what was kept and what was dropped", ""]
    lines += [
        "| language | split | rows | kept | hours | speakers | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        for name, split in report.splits.items():
            reasons = (
                "; ".join(f"{count:,} {reason}" for reason, count in split.dropped.counts.items()) or "-"
            )
            counts = f"{split.rows:,} | {split.kept:,} | {split.hours:.2f} | {split.speakers:,}"
            lines.append(f"| {report.name} | {name} | {counts} | {reasons} |")
    for report in reports:
        lines += ["", f"## {report.name}", "", f"{report.num_validated:,} rows in {report.validated}", ""]
        lines += [f"- WARNING {warning}" for warning in report.warnings()]
        drops = [("table", report.dropped), ("overlap", report.overlap)]
        for name, drop in drops + [(name, split.dropped) for name, split in report.splits.items()]:
            for reason, count in drop.counts.items():
                lines.append(f"- {name}: {count:,} {reason}, first: {' / '.join(drop.examples[reason][:3])}")
    with atomic_write(output_dir / "report.md") as stream:
        stream.write("\n".join(lines) + "\n")


def log_reports(reports: Sequence[LanguageReport]) -> None:
    """Show what was kept, and every warning."""
    for report in reports:
        for name, split in report.splits.items():
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
