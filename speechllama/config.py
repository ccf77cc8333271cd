"""YAML files that may include others, and the frozen dataclasses made of them.

    conf/e5.yaml (include: train.yaml) -> merged settings -> SpeechLlamaConfig

An unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import yaml

from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_utf8

Config = TypeVar("Config")
INCLUDE = "include"
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # what YAML 1.1 takes for text: 1e-3


class Loaded(NamedTuple):
    """A YAML with all that it includes.

    Attributes:
        settings: Merged, without `include`.
        files: What it was read from, the file itself first; what changes one of them changes the settings.
    """

    settings: dict[str, Any]
    files: tuple[Path, ...]


def read_config(path: str | Path, conf_path: str = "") -> dict[str, Any]:
    """Read a YAML with what it includes, without the names of the files; see `load_config`."""
    return load_config(path, split_conf_path(conf_path)).settings


def split_conf_path(conf_path: str) -> list[Path]:
    """Split the folders of a search path, "conf/small:conf"."""
    return [Path(folder) for folder in conf_path.split(":") if folder]


def load_config(path: str | Path, folders: Sequence[Path] = ()) -> Loaded:
    """Read a YAML with what it includes; its own keys replace those included, nested ones key by key.

    Args:
        path: The file. `include: other.yaml`, or a list of which later ones replace earlier ones, names others.
        folders: Where these are looked for: the first folder that has one counts, then the including file's own. A file
            that includes its own name means the next one of that name. Without any: the file's own folder.

    Returns:
        Settings and files.

    Raises:
        FileNotFoundError: It, or what it includes, is not there.
        ValueError: It is no YAML mapping, includes itself, or writes a number so that YAML reads text.
    """
    path = Path(path)
    files: dict[Path, None] = {}
    settings = _read(path, [*folders] or [path.parent], (), files)
    return Loaded(settings, tuple(files))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping as it is; an empty file has no settings.

    Raises:
        ValueError: It is not UTF-8, no YAML, or no mapping.
    """
    content = read_utf8(path)
    try:
        settings = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-99-99 is a ValueError
        raise InputError(f"{path}: not YAML: {error}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected settings (key: value), found {type(settings).__name__}")
    return settings


def find_config(name: str, folders: Sequence[Path]) -> Path | None:
    """Find a YAML by name in the first folder that has it; None if none has."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _read(path: Path, folders: Sequence[Path], above: tuple[Path, ...], files: dict[Path, None]) -> dict[str, Any]:
    if path in above:
        raise InputError(f"{path}: includes itself through {' -> '.join(map(str, above))}")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such config")
    files[path] = None
    own = read_yaml(path)
    _check_numbers(own, str(path))
    included = own.pop(INCLUDE, None) or []
    settings: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        found = _find_included(str(name), path, folders)
        settings = _merge(settings, _read(found, folders, (*above, path), files))
    return _merge(settings, own)


def _find_included(name: str, path: Path, folders: Sequence[Path]) -> Path:
    """The file that an include means: a namesake is the next one on the search path."""
    rest = list(folders)
    if name == path.name and path.parent in rest:
        rest = rest[rest.index(path.parent) + 1 :]
        if not rest:
            raise InputError(f"{path}: includes itself, and no folder after {path.parent} has another {name}")
    found = find_config(name, rest if path.parent in folders else [*rest, path.parent])
    if found is None:
        raise MissingFileError(f"{name}: no such config, included by {path}; looked for in {', '.join(map(str, rest))}")
    return found


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _check_numbers(values: dict[str, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _check_numbers(value, f"{where}: {key}")
        elif isinstance(value, str) and NUMBER.fullmatch(value):
            raise InputError(f"{where}: {key}: YAML reads {value} as text; write it with a point, such as 1.0e-3")


def from_mapping(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build a config dataclass, nested ones included.

    Args:
        kind: The dataclass.
        values: Settings by name; those absent keep their default.
        where: What the settings are called in messages, such as "conf/e5.yaml: model_conf".

    Returns:
        The config.

    Raises:
        ValueError: An unknown key or a value of another type; the message names the nearest key.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected settings (key: value), found {values!r}")
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            known = f"known are {', '.join(names)}" if names else "there are no settings here"
            hint = f"; did you mean {near[0]!r}?" if near else f"; {known}"
            raise InputError(f"{where}: unknown key {key!r}{hint}")
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    try:
        return kind(**arguments)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Fit a YAML value to a field's type; what is an instance of a dataclass already stays as it is."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(origin or hint) and isinstance(value, origin or hint):
        return value
    if dataclasses.is_dataclass(hint):
        return from_mapping(cast(type[Any], hint), value, where)
    if origin is types.UnionType and isinstance(value, list):
        value = tuple(value)  # YAML has no other kind of list
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {value!r}")
        return tuple(value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected settings (key: value), found {value!r}")
        return dict(value)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            expected = ", ".join(map(str, typing.get_args(hint)))
            raise InputError(f"{where}: unknown value {value!r}, expected one of {expected}")
        return value
    accepted = typing.get_args(hint) if origin is types.UnionType else (hint,)
    accepted = tuple(typing.get_origin(kind) or kind for kind in accepted)
    if float in accepted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and bool not in accepted or not isinstance(value, accepted):
        expected = " or ".join("list" if kind is tuple else getattr(kind, "__name__", str(kind)) for kind in accepted)
        raise InputError(f"{where}: expected {expected}, found {value!r} (YAML reads 1e-3 as text: write 1.0e-3)")
    return value
