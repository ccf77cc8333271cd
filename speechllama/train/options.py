"""Command lines of the trainings: settings of a YAML, options on top of them, and keys that are no options.

--config conf/e5.yaml --max_epoch 5 -> merged settings -> the options that ESPnet reads
"""

from __future__ import annotations

import argparse
import difflib
import functools
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from speechllama.config import read_config
from speechllama.files import atomic_write


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
    settings = read_config(config, option(cmd, "conf_path") or "")
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
    """Refuse keys of `--config` that are no options of the task; see `check_settings`."""
    config = option(cmd, "config")
    if config is not None:
        check_settings(read_config(config, option(cmd, "conf_path") or ""), known, config)


def check_settings(settings: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse settings that are no options of the task.

    Raises:
        ValueError: Unknown keys, all of them; of each the nearest known one is named.
    """
    faults = []
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            faults.append(f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")


@functools.cache
def known_options(kind: str) -> frozenset[str]:
    """Names of the options of a training, from its own parser.

    Args:
        kind: `ctc`, `system` (a speech LLM) or `seq2seq`.
    """
    from speechllama.train.ctc import CTCTask  # these bring ESPnet, which takes seconds
    from speechllama.train.seq2seq import Seq2SeqTask
    from speechllama.train.speech_llama import SpeechLlamaTask

    tasks = {"ctc": CTCTask, "system": SpeechLlamaTask, "seq2seq": Seq2SeqTask}
    return frozenset(action.dest for action in tasks[kind].get_parser()._actions)


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
    from speechllama.train.espnet import NestedDictAction  # which imports this module

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
