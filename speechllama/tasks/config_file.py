"""YAML settings of the tasks: one file may include another, and a misspelt key is an error.

    conf/e5.yaml (include: train.yaml) -> the merged settings -> the host's --config
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from speechllama.files import atomic_write

INCLUDE = "include"
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # what YAML 1.1 takes for text: 1e-3


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML with what it includes; its own keys replace those included, nested ones key by key.

    Args:
        path: The file; `include: other.yaml` counts from its folder.

    Returns:
        The merged settings, without `include`.

    Raises:
        FileNotFoundError: It, or what it includes, is not there.
        ValueError: It is no YAML mapping, includes itself, or writes a number so that YAML reads text.
    """
    return _read(Path(path), ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path in above:
        raise ValueError(f"{path}: includes itself through {' -> '.join(map(str, above))}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config" + (f", included by {above[-1]}" if above else ""))
    try:
        own = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(own, dict):
        raise ValueError(f"{path}: expected settings (key: value), found {type(own).__name__}")
    _check_numbers(own, str(path))
    included = own.pop(INCLUDE, None)
    return _merge(_read(path.parent / included, (*above, path)), own) if included else own


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
            raise ValueError(f"{where}: {key}: YAML reads {value} as text; write it with a point, such as 1.0e-3")


def resolve_includes(cmd: list[str]) -> list[str]:
    """Replace `--config FILE` by the merged settings, kept as `<output_dir>/train.yaml` for the record.

    Args:
        cmd: Command line.

    Returns:
        The command line the host gets.
    """
    config, output_dir = option(cmd, "config"), option(cmd, "output_dir")
    if config is None or output_dir is None:
        return cmd
    merged = Path(output_dir) / "train.yaml"
    settings = read_config(config)
    with atomic_write(merged) as stream:  # its name for the time being has the process id: every GPU's process writes
        stream.write(f"# merged from {config}\n" + yaml.safe_dump(settings, sort_keys=False))
    return [*cmd, "--config", str(merged)]


def option(cmd: list[str], name: str) -> str | None:
    """The last value of an option on a command line, `--name value` or `--name=value`."""
    found = None
    for index, word in enumerate(cmd):
        if word == f"--{name}" and index + 1 < len(cmd):
            found = cmd[index + 1]
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found


def check_keys(cmd: list[str], known: set[str]) -> None:
    """Refuse YAML keys that are no options of the task.

    Raises:
        ValueError: Unknown keys, all of them; of each the nearest known one is named.
    """
    config = option(cmd, "config")
    if config is None:
        return
    faults = []
    for key in read_config(config):
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            faults.append(f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if faults:
        raise ValueError(f"{config}: {'; '.join(faults)}")


class _Overrides(argparse.ArgumentParser):
    """Parser whose faults are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def override(settings: dict[str, Any], options: str, known: Collection[str]) -> dict[str, Any]:
    """Settings with a command line's options on top, read as the host reads them.

    Args:
        settings: Those of a YAML.
        options: Words of a command line, such as "--max_epoch 5 --llm_conf gradient_checkpointing=true".
        known: Names of the task's options; those that end in `_conf` hold nested settings.

    Returns:
        The merged settings.

    Raises:
        ValueError: Options that are none, or values that cannot be read: all of them are named.
    """
    from speechllama.tasks.host import NestedDictAction  # which imports this module

    parser = _Overrides(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in sorted(known):
        if name.endswith("_conf"):
            parser.add_argument(f"--{name}", action=NestedDictAction, default=argparse.SUPPRESS)
        else:
            parser.add_argument(f"--{name}", type=yaml.safe_load, nargs="+")
    given, faults = argparse.Namespace(**settings), []
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise ValueError(f"options {options!r}: {error}") from error
    for group in split_options(words):  # one at a time, for the parser stops at its first fault
        try:
            parser.parse_args(group, given)
        except (ValueError, yaml.YAMLError) as error:
            faults.append(str(error))
    if faults:
        raise ValueError(f"options {options!r}: {'; '.join(faults)}")
    single = {name: value[0] for name, value in vars(given).items() if isinstance(value, list) and len(value) == 1}
    return vars(given) | {name: value for name, value in single.items() if vars(given)[name] is not settings.get(name)}


def split_options(words: Sequence[str]) -> list[list[str]]:
    """Each option of a command line with its values; words before the first are one group."""
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(word)
    return groups
