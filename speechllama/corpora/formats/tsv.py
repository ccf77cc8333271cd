"""Corpora in tab-separated tables: DIR/train.tsv with a column of recordings, a row an utterance -> Utterance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllama.corpora.formats.options import TsvOptions
from speechllama.corpora.formats.prepare import Row, prepare_form
from speechllama.corpora.formats.rows import Speech, find_missing, to_utterance
from speechllama.corpora.own import Unusable
from speechllama.data.tsv import BadRow, read_header, read_tsv
from speechllama.faults import MissingFileError


def prepare(options: TsvOptions) -> None:
    """Write the data directories."""
    prepare_form(options, read_split)


def find_files(options: TsvOptions, split: str) -> list[Path]:
    """Find the table of a split.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(options.corpus, split if split.endswith(".tsv") else f"{split}.tsv")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table; --train, --dev and --test say which tables are which sets")
    return [path]


def count_rows(options: TsvOptions, split: str) -> int:
    """Count the utterances of a table, about, before it is read: its lines without the first."""
    return max(0, find_files(options, split)[0].read_bytes().count(b"\n") - 1)


def read_split(options: TsvOptions, split: str) -> Iterator[Row]:
    """Give the utterances of a table; paths of recordings count from the corpus's folder.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: A column is missing.
    """
    [path] = find_files(options, split)
    columns = read_header(path)
    spans = {name: getattr(options, name) for name in ("audio_column", "start_column", "end_column")}
    find_missing(options, spans, columns, f"{path}:1")
    faults: list[BadRow] = []
    for number, values in read_tsv(path, columns, faults):
        row = dict(zip(columns, values, strict=True))
        recording = str(Path(options.corpus, row[options.audio_column]))
        speech = Speech(recording, number, row.get(options.start_column), row.get(options.end_column))
        yield to_utterance(row, speech, options, f"{path}:{number}")
    for fault in faults:
        yield Unusable("bad row", str(fault), options.languages[0] if len(options.languages) == 1 else "unknown")
