"""Rows with named columns, of tables, datasets and manifests -> Utterance.

{"audio": ..., "sentence": "Hola.", "translation": {"de": "Hallo."}} + --text_column translation.de -> Utterance
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechllama.corpora.formats.options import NONE, ColumnOptions
from speechllama.corpora.formats.prepare import Row
from speechllama.corpora.own import Unusable, Utterance
from speechllama.data.clips import clip_name
from speechllama.faults import InputError
from speechllama.text.targets import TARGETS

OTHER_LANGUAGE = "language that is not in --langs"
BAD_TIMES = "utterance with wrong times"


@dataclass(frozen=True)
class Speech:
    """Where the speech of a row is.

    Attributes:
        recording: Path of an audio file.
        number: Number of the row in its split, from 1: a part of its name.
        start: Where it begins, in seconds: a number, a text or None.
        end: Where it ends.
    """

    recording: str
    number: int
    start: Any = None
    end: Any = None


def pick(row: Mapping[str, Any], column: str) -> Any:
    """Give the value of a column; of a.b field b of field a; None where there is none."""
    if column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    inner = row.get(head)
    return pick(inner, rest) if dot and isinstance(inner, Mapping) else None


def find_missing(options: ColumnOptions, wanted: Mapping[str, str], columns: Collection[str], where: str) -> None:
    """Check that the columns are there before any row is read.

    Args:
        options: Which columns the texts have.
        wanted: Further columns, by option.
        columns: Those that there are.
        where: What has them.

    Raises:
        ValueError: Some are not there, or no language is named.
    """
    names = {
        name: getattr(options, name) for name in ("text_column", "src_text_column", "lang_column", "target_column")
    }
    names |= {"speaker_column": options.speaker_column, "id_column": options.id_column, **wanted}
    missing = [
        f"--{name} {column}"
        for name, column in names.items()
        if column not in ("", NONE) and not {column, column.partition(".")[0]} & {*columns}
    ]
    if missing:
        raise InputError(f"{where}: no such column: {', '.join(missing)}; found {', '.join(columns)}")


def to_utterance(row: Mapping[str, Any], speech: Speech, options: ColumnOptions, where: str) -> Row:
    """Make an utterance of a row.

    Args:
        row: Values by column.
        speech: Where its speech is.
        options: Which columns it has.
        where: Where it is: "train.tsv:17".

    Returns:
        The utterance, or why it is none.
    """
    language = _find_language(row, options)
    if language not in options.languages:
        return Unusable(OTHER_LANGUAGE, f"{where}: {language!r}", language or "unknown", is_fault=False)
    start, end = _seconds(speech.start, 0.0), _seconds(speech.end, math.inf)
    if not 0 <= start < end:
        return Unusable(BAD_TIMES, f"{where}: from {speech.start!r} to {speech.end!r} seconds", language)
    translation, transcript = _text(row, options.text_column), _text(row, options.src_text_column)
    recording = clip_name(speech.recording.rpartition("/")[2])
    return Utterance(
        _text(row, options.id_column) or f"{recording}_{speech.number:06d}",
        _text(row, options.speaker_column) or recording,
        speech.recording,
        language,
        translation if options.src_text_column == NONE else transcript,
        transcript if options.text_column == NONE else translation,
        start,
        None if end == math.inf else end,
        _find_code(_text(row, options.target_column), (options.target_lang, *TARGETS)),
        where,
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    """Give a text; "" where there is none."""
    value = pick(row, column) if column not in ("", NONE) else None
    return "" if value is None else str(value)


def _find_language(row: Mapping[str, Any], options: ColumnOptions) -> str:
    """Give the code of a row's language: the value itself, or the code of --langs that has this English name."""
    if not options.lang_column or options.lang_column == NONE:
        return options.only_language("--lang_column says")
    value = _text(row, options.lang_column)
    if not value and len(options.languages) == 1:
        return options.languages[0]
    return _find_code(value, options.languages)


def _find_code(value: str, codes: Sequence[str]) -> str:
    """Give a code itself, or the first of some codes that has this English name; another value as it is."""
    if value in codes:
        return value
    return next((code for code in codes if code in TARGETS and TARGETS[code].language == value), value)


def _seconds(value: Any, default: float) -> float:
    """Read a number; nan for what is none."""
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
