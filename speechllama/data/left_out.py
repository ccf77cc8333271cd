"""Report on what the features and statistics stages left out -> left_out.json, left_out.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.data.corpus_report import DropCounts
from speechllama.data.skipped import Reason, Skip, read_skipped
from speechllama.files import atomic_write, read_table, write_json
from speechllama.markdown import format_table

NUM_EXAMPLES = 3  # of a reason, in left_out.md


@dataclass
class LeftOut:
    """One language of one split.

    Attributes:
        num_utterances: Utterances of the data directory that stage `data` wrote.
        dropped: Reasons, by the values of `Reason`, with counts and first examples.
    """

    num_utterances: int = 0
    dropped: DropCounts = field(default_factory=DropCounts)


def report_left_out(data_root: str | Path, dump_root: str | Path, stats_dir: str | Path) -> dict[str, LeftOut]:
    """Count by language and split what both stages left out, and write left_out.json and left_out.md into stats_dir.

    Args:
        data_root: Has {train,dev,test} of stage `data`, whose report says what was left out before.
        dump_root: Has {train,dev,test} of stage `features`.
        stats_dir: Has {train,dev} of stage `statistics`.

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
        for utterance, skip in _read_skips(Path(dump_root) / split, Path(stats_dir) / split):
            dropped = found[f"{languages[utterance]} {split}"].dropped
            dropped.add(skip.reason.value, f"{utterance}: {skip.detail}")
    records = {
        name: {"utterances": entry.num_utterances, "dropped": entry.dropped.to_dict()} for name, entry in found.items()
    }
    write_json(Path(stats_dir) / "left_out.json", records)
    with atomic_write(Path(stats_dir) / "left_out.md") as stream:
        stream.write(_format_page(found, data_root))
    return found


def _read_skips(dump_dir: Path, stats_dir: Path) -> Iterator[tuple[str, Skip]]:
    """Give all utterances of one split that both stages left out."""
    for folder in (dump_dir, stats_dir):
        yield from read_skipped(folder / "skipped").items()


def _format_page(found: dict[str, LeftOut], data_root: str | Path) -> str:
    rows, examples = [], []
    for name, entry in found.items():
        counts = entry.dropped.counts
        words = {reason: Reason(reason).in_words for reason in counts}
        reasons = "; ".join(f"{count:,} {words[reason]}" for reason, count in counts.items()) or "-"
        rows.append((*name.rsplit(" ", 1), f"{entry.num_utterances:,}", reasons))
        for reason, count in counts.items():
            shown = " / ".join(entry.dropped.examples[reason][:NUM_EXAMPLES])
            examples.append(f"- {name}: {count:,} {words[reason]}, first: {shown}\n")
    page = "# What was left out after stage `data`\n\n"
    page += f"Before, {data_root}/report.md counts what the corpus lost, where its recipe writes one.\n\n"
    page += format_table(("language", "split", "utterances", "left out"), rows)
    return page + ("\n" + "".join(examples) if examples else "")
