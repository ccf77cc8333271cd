"""What training does without, beyond the corpus report: lists of stages 2 and 4 -> left_out.json, left_out.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.data.ark import read_skipped
from speechllama.data.corpus_report import DropCounts
from speechllama.files import atomic_write, read_table, write_json
from speechllama.markdown import format_table

NO_FEATURES = "cannot be decoded (stage 2)"
NO_UNITS = "has no CTC units, left out of CTC training (stage 4)"
TOO_SHORT = "has fewer encoder frames than CTC units, left out of CTC training (stage 4)"
NUM_EXAMPLES = 3  # of a reason, in left_out.md


@dataclass
class LeftOut:
    """One language of one split.

    Attributes:
        num_utterances: Utterances of the data directory that stage 1 wrote.
        dropped: Reasons with counts and first examples.
    """

    num_utterances: int = 0
    dropped: DropCounts = field(default_factory=DropCounts)


def report_left_out(data_root: str | Path, dump_root: str | Path, stats_dir: str | Path) -> dict[str, LeftOut]:
    """Count by language and split what stages 2 and 4 left out, and write left_out.json and left_out.md into stats_dir.

    Args:
        data_root: Has {train,dev,test} of stage 1, whose report says what was left out before.
        dump_root: Has {train,dev,test} of stage 2.
        stats_dir: Has {train,dev} of stage 4.

    Returns:
        What was left out, by "language split".

    Raises:
        FileNotFoundError: A data directory has no utt2lang.
    """
    found: dict[str, LeftOut] = {}
    for split in SPLITS:
        languages = read_table(Path(data_root) / split / "utt2lang")
        for language in sorted(languages.values()):
            found.setdefault(f"{language} {split}", LeftOut()).num_utterances += 1
        for utterance, reason, detail in _read_reasons(Path(dump_root) / split, Path(stats_dir) / split):
            found[f"{languages[utterance]} {split}"].dropped.add(reason, f"{utterance}: {detail}")
    records = {
        name: {"utterances": entry.num_utterances, "dropped": entry.dropped.to_dict()} for name, entry in found.items()
    }
    write_json(Path(stats_dir) / "left_out.json", records)
    with atomic_write(Path(stats_dir) / "left_out.md") as stream:
        stream.write(_format_page(found, data_root))
    return found


def _read_reasons(dump_dir: Path, stats_dir: Path) -> Iterator[tuple[str, str, str]]:
    """Give utterance, reason and detail of all that both stages left out of one split."""
    for utterance, detail in read_skipped(dump_dir / "skipped").items():
        yield utterance, NO_FEATURES, detail
    for utterance, detail in read_skipped(stats_dir / "skipped").items():
        yield utterance, NO_UNITS if detail.endswith("has no CTC units") else TOO_SHORT, detail


def _format_page(found: dict[str, LeftOut], data_root: str | Path) -> str:
    rows, examples = [], []
    for name, entry in found.items():
        counts = entry.dropped.counts
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "-"
        rows.append((*name.rsplit(" ", 1), f"{entry.num_utterances:,}", reasons))
        for reason, count in counts.items():
            shown = " / ".join(entry.dropped.examples[reason][:NUM_EXAMPLES])
            examples.append(f"- {name}: {count:,} {reason}, first: {shown}\n")
    page = "# What was left out after stage 1\n\n"
    page += f"Before, {data_root}/report.md counts what the corpus lost, where its recipe writes one.\n\n"
    page += format_table(("language", "split", "utterances", "left out"), rows)
    return page + ("\n" + "".join(examples) if examples else "")
