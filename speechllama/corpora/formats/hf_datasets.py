"""Corpora of Hugging Face datasets (extra `datasets`): a folder or an id of the hub -> rows -> Utterance.

What save_to_disk wrote is mapped into memory; all else (parquet, folders of recordings, the hub) is read as a stream,
so nothing is copied into a cache. Audio is not decoded here: paths stay where they are, bytes become files.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechllama.corpora.formats.extracted import extract, folder_of, place_of
from speechllama.corpora.formats.options import DatasetsOptions
from speechllama.corpora.formats.prepare import Row, prepare_form
from speechllama.corpora.formats.rows import Speech, find_missing, pick, to_utterance
from speechllama.corpora.own import Unusable, Utterance
from speechllama.faults import InputError, MissingFileError

SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves: of several splits, of one
DATA_SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tar", ".zip")
NUM_ROWS = 16  # read at once, with the bytes of their recordings
BAD_AUDIO = "row without audio"


def prepare(options: DatasetsOptions) -> None:
    """Write the data directories."""
    prepare_form(options, read_split)


def find_files(options: DatasetsOptions, split: str) -> list[Path]:
    """List the files of a dataset on disk, whatever the split; none of one of the hub.

    Raises:
        ValueError: The package datasets is missing.
        FileNotFoundError: The corpus is neither a folder nor what an id looks like.
    """
    if importlib.util.find_spec("datasets") is None:
        raise InputError(
            f"{options.corpus}: reading a Hugging Face dataset needs the package datasets: pip install -e '.[datasets]'"
        )
    folder = Path(options.corpus)
    if folder.is_dir():
        found = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(depth))
        return sorted(path for path in found if path.suffix in DATA_SUFFIXES)
    if folder.is_absolute() or options.corpus.startswith(".") or options.corpus.count("/") > 1:
        raise MissingFileError(f"--corpus {options.corpus}: no such folder; expected one, or an id of the hub")
    return []


def read_split(options: DatasetsOptions, split: str) -> Iterator[Row]:
    """Give the utterances of a split; recordings that are bytes are written below `--downloads`.

    Raises:
        FileNotFoundError: There is no such dataset.
        ValueError: The package is missing, the dataset cannot be read, or it has no such split or column.
    """
    find_files(options, split)
    data = _load(options, split)
    where = f"{options.corpus}:{split}"
    spans = {name: getattr(options, name) for name in ("audio_column", "start_column", "end_column")}
    if data.column_names is not None:
        find_missing(options, spans, data.column_names, where)
    folder, number = folder_of(options, split), 0
    for table in data.with_format("arrow").iter(NUM_ROWS):  # not decoded, which would need torchcodec
        for row in table.to_pylist():
            number += 1
            yield _read_row(row, options, folder, f"{where}:{number}", number)


def _load(options: DatasetsOptions, split: str) -> Any:
    """Open a split.

    Raises:
        ValueError: It cannot be opened.
    """
    import datasets

    folder = Path(options.corpus)
    single = next((place for place in (folder / split, folder) if (place / SAVED[1]).is_file()), None)
    try:
        if (folder / SAVED[0]).is_file():
            saved = datasets.load_from_disk(options.corpus)
            if split not in saved:
                raise InputError(f"{options.corpus}: no split {split!r}; found {', '.join(saved)}")
            return saved[split]
        if single == folder:
            raise InputError(
                f"{folder}: is one dataset without splits; save a DatasetDict with train, validation and test, or "
                f"datasets in folders of these names"
            )
        if single:
            return datasets.load_from_disk(str(single))
        name, revision = options.config_name or None, options.revision or None
        return datasets.load_dataset(options.corpus, name, split=split, revision=revision, streaming=True)
    except InputError:
        raise
    except (datasets.exceptions.DatasetsError, ValueError, OSError, RuntimeError) as error:
        raise InputError(f"{options.corpus}, split {split}: the package datasets cannot read it: {error}") from error


def _read_row(row: Mapping[str, Any], options: DatasetsOptions, folder: Path, where: str, number: int) -> Row:
    """Make an utterance of a row, and a file of its recording if that is bytes."""
    audio = pick(row, options.audio_column)
    content, name = _content_and_name(audio)
    is_inside = content is not None or "://" in name
    place = place_of(folder, number, name) if is_inside else Path(options.corpus, name)
    times = [pick(row, column) if column else None for column in (options.start_column, options.end_column)]
    found = to_utterance(row, Speech(str(place), number, *times), options, where)
    if not isinstance(found, Utterance):
        return found
    if not content and not name:
        return Unusable(BAD_AUDIO, f"{where}: {options.audio_column} is {str(audio)[:60]}", found.language)
    if is_inside:
        try:
            content = _fetch(name) if content is None else content
        except OSError as error:
            return Unusable(BAD_AUDIO, f"{where}: {name}: {error}", found.language)
        extract(content, place)
    return found


def _content_and_name(audio: Any) -> tuple[bytes | None, str]:
    """Take a value of the audio column apart: {bytes, path}, bytes, or a path."""
    if isinstance(audio, Mapping):
        return audio.get("bytes"), str(audio.get("path") or "")
    if isinstance(audio, bytes):
        return audio, ""
    return None, audio if isinstance(audio, str) else ""


def _fetch(url: str) -> bytes:
    """Read a file of the hub, or one in an archive, as datasets name them in a stream: zip://a.wav::hf://..."""
    import fsspec

    with fsspec.open(url, "rb") as stream:
        content: bytes = stream.read()
    return content
