"""Text tables and atomic writes: the only way this project writes a small file.

path <-> {key: value}        Kaldi's "key value" lines, sorted by the bytes of the key (LC_ALL=C)
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from speechllama.faults import InputError, MissingFileError

BYTE_ORDER_MARK = "\ufeff"
INVISIBLE = "\u200b\u2060" + BYTE_ORDER_MARK  # zero-width space, word joiner: no part of a key

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
# What torch, safetensors and libsndfile say where the system refuses to write.
CANNOT_WRITE = ("inline_container.cc", "PytorchStreamWriter", os.strerror(errno.ENOSPC), "System error.")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file that cannot be written: the error of a full disk has no name, and libraries have their own errors.

    Args:
        path: The file that is written inside, or the folder.

    Raises:
        OSError: It cannot be written; with its path.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except Exception as error:  # of torch, safetensors and libsndfile, which know no error numbers
        if not any(words in str(error) for words in CANNOT_WRITE):
            raise
        number = errno.EROFS if os.strerror(errno.EROFS) in str(error) else errno.ENOSPC
        raise OSError(number, f"{os.strerror(number)} ({' '.join(str(error).split())[:100]})", str(path)) from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when it is whole.

    A killed job leaves `<name>.tmp.<pid>`, never half a file that the next stage would believe.

    Args:
        path: The file; its folder is made if absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        with writing(path), temporary.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def split_line(line: str) -> tuple[str, str, str]:
    """Split a line of a Kaldi table at its first white space.

    Args:
        line: The line, with or without its end.

    Returns:
        The key, the value, and what is odd about the line: "" for a key, one space, and a value. The key and the value
        are those that were meant: without a byte-order mark, and split at white space of any kind.
    """
    key, _, value = line.rstrip("\r\n").partition(" ")
    if key.isascii() and key.split() == [key]:
        return key, value.strip(), ""
    text = line.lstrip(BYTE_ORDER_MARK)
    if key.split() == [key] and not any(mark in INVISIBLE for mark in key):
        return key, value.strip(), ""
    key, *rest = text.split(maxsplit=1) or [""]
    value = rest[0].strip() if rest else ""
    if line.startswith(BYTE_ORDER_MARK):
        return key, value, "begins with a byte-order mark"
    if line[:1].isspace():
        return key, value, "starts with a space" if line[0] == " " else f"starts with {_code(line[0])}"
    if any(mark in INVISIBLE for mark in key):
        invisible = next(mark for mark in key if mark in INVISIBLE)
        return (
            key.translate(dict.fromkeys(map(ord, INVISIBLE))),
            value,
            f"has the invisible {_code(invisible)} in its key",
        )
    return key, value, f"has {_code(line[len(key)])} after its key"


def _code(mark: str) -> str:
    """Name a character that cannot be seen."""
    return f"U+{ord(mark):04X}"


def read_table(path: str | Path, keys: dict[str, str] | None = None) -> dict[str, str]:
    """Read a Kaldi table: one "key value" a line; a key without a value has the value "".

    Args:
        path: The file, UTF-8.
        keys: Keys of tables read before; a key that several tables have is then in memory once. Gets the new ones.

    Returns:
        The values by key, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line has another form, a key comes twice, or the file is not UTF-8; the message says where.
    """
    path = Path(path)
    table: dict[str, str] = {}
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table; run the stage that writes it")
    value = ""
    with path.open("rb") as stream:  # of a binary file only "\n" ends a line; U+2028 or U+0085 are in real transcripts
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}:{number}: not UTF-8 ({error}); convert the file") from error
            key, found, odd = split_line(line)
            if odd:
                raise InputError(
                    f"{path}:{number}: the line {odd}, expected 'key value' with one space between: {line[:60]!r}; "
                    "validate_data_dir --fix repairs a data directory"
                )
            if key in table:
                raise InputError(f"{path}:{number}: the key {key!r} comes a second time; keys must be unique")
            value = value if value == found else found  # neighbours often have the same: speaker, language
            table[key if keys is None else keys.setdefault(key, key)] = value
    return table


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write a Kaldi table, sorted as LC_ALL=C sort does.

    Args:
        path: The file to write, atomically.
        table: Values by key; neither holds a line break.

    Raises:
        ValueError: A key holds white space or a value holds a line break.
    """
    with atomic_write(path) as stream:
        for key in sorted(table, key=lambda name: name.encode("utf-8")):
            value = table[key]
            if not key or any(mark.isspace() for mark in key) or "\n" in value:
                raise InputError(f"{path}: cannot write key {key!r} with value {value!r} as one 'key value' line")
            stream.write(f"{key} {value}\n")


def read_utf8(path: str | Path) -> str:
    """Read a text file, with or without byte-order mark.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); convert the file, or write it again") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; run the stage that writes it")
    try:
        value = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}); delete it and run its stage again") from error
    except RecursionError as error:
        raise InputError(
            f"{path}: not JSON that a stage writes (too deep); delete it and run its stage again"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, indented, UTF-8, atomically."""
    with atomic_write(path) as stream:
        json.dump(dict(value), stream, ensure_ascii=False, indent=2)
        stream.write("\n")


def find_path(value: str, folder: str | Path) -> str:
    """Find the path that a setting of an experiment means.

    Args:
        value: A path as a recipe gave it, from the recipe's directory; or from the folder, as in a packed model.
        folder: The experiment's directory, which is below the recipe's.

    Returns:
        The path; the value itself where there is nothing by that name, such as a hub id.
    """
    folder = Path(folder)
    places = [place / value for place in (folder, *folder.resolve().parents) if value]
    return next((str(place) for place in places if place.exists()), value)
