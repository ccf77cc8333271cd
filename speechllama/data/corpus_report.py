"""What became of CoVoST 2: counts by language and split -> report.json, report.md; shows a wrong corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechllama.faults import NUM_SHOWN
from speechllama.files import atomic_write, read_json, write_json

SPLITS = ("train", "dev", "test")
# Utterances in train, dev, test of X->En: the rows of CoVoST 2's tables that Common Voice 4 validates.
KNOWN_COUNTS = {
    "ar": (2_283, 1_758, 1_695), "ca": (95_854, 12_730, 12_730), "cy": (1_241, 690, 690),
    "de": (127_834, 13_511, 13_511), "es": (79_015, 13_221, 13_221), "et": (1_782, 1_576, 1_571),
    "fa": (53_949, 3_445, 3_445), "fr": (207_374, 14_760, 14_760), "id": (1_243, 792, 844),
    "it": (31_698, 8_940, 8_951), "ja": (1_119, 635, 684), "lv": (2_337, 1_125, 1_629), "mn": (2_067, 1_761, 1_759),
    "nl": (7_108, 1_699, 1_699), "pt": (9_158, 3_318, 4_023), "ru": (12_112, 6_110, 6_300), "sl": (1_843, 509, 360),
    "sv-SE": (2_160, 1_349, 1_595), "ta": (1_358, 384, 786), "tr": (3_966, 1_624, 1_629),
    "zh-CN": (7_085, 4_843, 4_898),
}  # fmt: skip
FULL_SIZE_SHARE = 0.2  # below this share of the published rows it is meant to be a sample
COUNT_TOLERANCE = 0.03  # later releases lack some clips, a few are always bad


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
        return {reason: {"count": count, "examples": self.examples[reason]} for reason, count in self.counts.items()}

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
class SourceReport:
    """One kind of data of one language: CoVoST 2's, English transcripts, or pseudo-labels.

    Attributes:
        name: The language as in CoVoST 2, and the kind if it is not CoVoST 2's.
        table: Path of the table with the sentences.
        targets: Path of the table with the targets; the same where one table has both.
        num_rows: Rows of `table`.
        dropped: Rows of which no split is known, and repeated rows.
        splits: By split.
        overlap: Sentences of train that are in dev or test too: count and examples.
    """

    name: str
    table: str
    targets: str
    num_rows: int = 0
    dropped: Drops = field(default_factory=Drops)
    splits: dict[str, SplitReport] = field(default_factory=lambda: {name: SplitReport() for name in SPLITS})
    overlap: Drops = field(default_factory=Drops)

    def shown_splits(self) -> list[tuple[str, SplitReport]]:
        """Give the splits that this kind of data has."""
        return [(name, split) for name, split in self.splits.items() if split.rows or split.kept]

    def warnings(self) -> list[str]:
        """Name what looks wrong but may be meant."""
        expected = [name for name, split in self.splits.items() if split.rows or self.name in KNOWN_COUNTS]
        found = [f"{self.name} {name}: no utterance" for name in expected if not self.splits[name].kept]
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
            "table": self.table,
            "targets": self.targets,
            "rows": self.num_rows,
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


def write_report(reports: Sequence[SourceReport], output_dir: Path) -> None:
    """Write report.json and report.md."""
    write_json(output_dir / "report.json", {"languages": {report.name: report.to_dict() for report in reports}})
    lines = ["# CoVoST 2: what was kept and what was dropped", ""]
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
        drops = [("table", report.dropped), ("overlap", report.overlap)]
        for name, drop in drops + [(name, split.dropped) for name, split in report.splits.items()]:
            for reason, count in drop.counts.items():
                lines.append(f"- {name}: {count:,} {reason}, first: {' / '.join(drop.examples[reason][:3])}")
    with atomic_write(output_dir / "report.md") as stream:
        stream.write("\n".join(lines) + "\n")


def count_rows(path: str | Path, split: str) -> int:
    """Count the rows that a corpus has for a split, by its report.json; 0 where there is none, or one of another form.

    Raises:
        ValueError: It is not JSON.
    """
    if not Path(path).is_file():
        return 0
    try:
        languages = read_json(path)["languages"].values()
        return sum(int(language["splits"].get(split, {}).get("rows", 0)) for language in languages)
    except (KeyError, TypeError, AttributeError):  # a recipe's own data stage may write a form of its own
        return 0


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
