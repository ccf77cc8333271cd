"""The one way from the forms of corpora to data directories: splits -> sets of utterances -> write_sets.

    options -> read_split(options, "tst-COMMON") -> Utterance or Unusable ... -> data/test/, report.md

Every split is read before anything is written, so that the faults of all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from speechllama.corpora.formats.options import FormatOptions
from speechllama.corpora.own import Limits, Unusable, Utterance, write_sets
from speechllama.data.corpus_report import SourceReport
from speechllama.faults import raise_all
from speechllama.text.filter import TextFilter

Row = Utterance | Unusable
Options = TypeVar("Options", bound=FormatOptions)


def prepare_form(options: Options, read_split: Callable[[Options, str], Iterable[Row]]) -> list[SourceReport]:
    """Write the data directories of a corpus, with the report.

    Args:
        options: Of stage data.
        read_split: Gives the utterances of a split.

    Returns:
        What was kept and dropped, by language.

    Raises:
        ValueError: Splits are missing or damaged; the message lists what is wrong with all of them.
    """
    sets: dict[str, list[Row]] = {}
    faults: list[str] = []
    for name, splits in options.sets.items():
        found = sets.setdefault(name, [])
        for split in splits:
            try:
                found += _name_apart(read_split(options, split), split if len(splits) > 1 else "")
            except (ValueError, FileNotFoundError) as error:
                faults.append(str(error))
    raise_all(faults, "corpus")
    return write_sets(sets, options, Path(options.corpus).name, limits_of(options))


def limits_of(options: FormatOptions) -> Limits:
    """Give the limits of what is kept."""
    text = TextFilter(options.check_characters, max_chars_per_second=options.max_chars_per_second)
    return Limits(options.min_duration, options.max_duration, text, options.max_bad_share)


def _name_apart(rows: Iterable[Row], split: str) -> Iterator[Row]:
    """Begin the names of utterances with their split, where a set has several."""
    for row in rows:
        yield replace(row, name=f"{split}_{row.name}") if split and isinstance(row, Utterance) else row
