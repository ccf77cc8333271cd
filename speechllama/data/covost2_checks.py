"""Whether two corpora belong together and enough of them is whole: a message that says what to do, or nothing."""

from __future__ import annotations

from speechllama.data.clips import clip_name, list_clips
from speechllama.data.covost2_files import Language
from speechllama.data.covost2_report import SourceReport
from speechllama.data.faults import first_ten
from speechllama.data.tsv import read_tsv

BAD_REASONS = ("no such clip", "unreadable clip")


def check_belonging(place: Language, english: str, max_missing_share: float, max_bad_share: float) -> None:
    """Refuse another release than CoVoST 2's table needs, or a folder that lacks its clips, before clips are read.

    Args:
        place: The language.
        english: The table of English transcripts.
        max_missing_share: Rows of CoVoST 2 that validated.tsv may lack.
        max_bad_share: Clips that may be absent; one always may.

    Raises:
        ValueError: Too many rows have no counterpart, or too many clips no file.
    """
    if place.table is None:
        if not (place.folder / f"{english}.tsv").is_file():
            table = place.folder / f"{english}.tsv"
            raise ValueError(f"{table}: no such table; the other one is --english validated")
        return
    translated = {clip_name(path) for _, (path,) in read_tsv(place.table, ("path",), [])}
    validated = {clip_name(path) for _, (path,) in read_tsv(place.folder / "validated.tsv", ("path",), [])}
    missing = len(translated - validated)
    if missing > max_missing_share * len(translated):
        raise ValueError(
            f"{place.name}: {missing:,} of {len(translated):,} clips of {place.table} are not in {place.folder}/"
            f"validated.tsv, at most {max_missing_share:.0%} may (--max_missing_share): another release or "
            "language; CoVoST 2 was made from cv-corpus-4-2019-12-10"
        )
    wanted = translated & validated
    absent = sorted(wanted - list_clips(place.folder / "clips").keys())
    if len(absent) > max(1, max_bad_share * len(wanted)):
        beside = f"; or remove the folder, and {place.archive} is unpacked instead" if place.archive else ""
        raise ValueError(
            f"{place.name}: {len(absent):,} of {len(wanted):,} clips that validated.tsv lists are not in "
            f"{place.folder}/clips (first {absent[0]}), at most {max_bad_share:.0%} may (--max_bad_share): "
            f"half unpacked? Unpack the archive again{beside}"
        )


def check_bad_share(report: SourceReport, place: Language, max_bad_share: float) -> None:
    """Refuse a corpus of which too much is damaged.

    Raises:
        ValueError: More clips than allowed are absent or unreadable.
    """
    drops = [split.dropped for split in report.splits.values()]
    examples = [text for drop in drops for reason in BAD_REASONS for text in drop.examples.get(reason, [])]
    bad = sum(drop.counts.get(reason, 0) for drop in drops for reason in BAD_REASONS)
    total = bad + sum(split.kept for split in report.splits.values())
    if bad > max(1, max_bad_share * total):
        raise ValueError(
            f"{report.name}: {bad:,} of {total:,} clips are absent or damaged, at most {max_bad_share:.0%} may "
            f"(--max_bad_share); get them again below {place.folder}, or raise the share:{first_ten(examples)}"
        )
