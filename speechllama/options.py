"""Options as fields of a frozen dataclass: a field is an option, its default, its help and its check.

    words of a command line -> the dataclass, or every fault in one message

Only the standard library is needed, so that `--help` works on a bare machine.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

from speechllama.faults import InputError

Check = Callable[[Any], str]  # value -> what is wrong with it, "" if nothing
Record = TypeVar("Record")
NUMBER = r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"


class UsageError(InputError):
    """A command line that cannot be meant: the message names every fault; exit status 2."""


def option(default: Any, text: str, check: Check | None = None, group: str = "", also: str = "") -> Any:
    """Declare an option.

    Args:
        default: Its default; a bool makes a switch, an int takes whole numbers, a float numbers, a str any text.
        text: Its help, one line.
        check: What is wrong with a value.
        group: Heading of the help that begins with it; "" continues the one before.
        also: Another name that users may give it.
    """
    return field(default=default, metadata={"help": text, "group": group, "check": check, "also": also})


def at_least_one(value: int) -> str:
    """Refuse numbers below 1."""
    return "" if value >= 1 else f"expected at least 1, found {value}"


def one_of(*values: str) -> Check:
    """Refuse all but these values."""

    def check(value: str) -> str:
        return "" if value in values else f"unknown value {value!r}, expected one of {', '.join(values)}"

    return check


def not_empty(value: str) -> str:
    """Refuse an empty text."""
    return "" if value.strip() else "expected a value, found none"


def whole_number(value: str) -> str:
    """Refuse what is neither empty nor a whole number."""
    return "" if re.fullmatch(r"[0-9]*", value) else f"expected a whole number, found {value!r}"


def whole_numbers(value: str) -> str:
    """Refuse an empty list, and what is no whole number."""
    wrong = [word for word in value.split() if not re.fullmatch(r"[0-9]+", word)]
    return f"expected whole numbers, found {wrong[0]!r}" if wrong else not_empty(value)


def split_further(value: str) -> list[str]:
    """Split an option that holds options of another command as a shell does: quotes keep a value with spaces together.

    Raises:
        UsageError: A quote does not end.
    """
    try:
        return shlex.split(value)
    except ValueError as error:
        raise UsageError(f"{value!r}: {error}") from error


def well_quoted(value: str) -> str:
    """Refuse further options with a quote that does not end."""
    try:
        split_further(value)
    except UsageError as error:
        return str(error)
    return ""


def parse(kind: type[Record], words: Sequence[str], settings: Sequence[str] = ()) -> Record:
    """Read a command line: --name value or --name=value, a dash in a name counts as an underscore.

    Args:
        kind: Dataclass whose fields are declared with `option`.
        words: The user's words.
        settings: The recipe's own, which the user's override.

    Returns:
        The options, with checked values.

    Raises:
        UsageError: Every fault.
    """
    faults: list[str] = []
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in _pairs([*settings, *words], fields, faults):
        values[name] = _convert(fields[name], value, faults)
    if not values.get("help"):
        for name, entry in fields.items():
            check = entry.metadata["check"]
            fault = check(values.get(name, entry.default)) if check and values.get(name, "") is not None else ""
            if fault:
                faults.append(f"--{name}: {fault}")
    if faults:
        raise UsageError("; ".join(faults))
    return kind(**values)


def _pairs(
    words: Sequence[str], fields: dict[str, dataclasses.Field[Any]], faults: list[str]
) -> Iterator[tuple[str, str | None]]:
    """Options with their values, None for a switch that is only named or a value that is missing."""
    rest = list(words)
    others = {entry.metadata["also"]: name for name, entry in fields.items() if entry.metadata["also"]}
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            faults.append(f"unexpected argument {word!r}")
            continue
        name, has_value, value = word[2:].partition("=")
        name = name.replace("-", "_")
        name = others.get(name, name)
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1, cutoff=0.0)
            faults.append(f"unknown option --{name}; the nearest is --{near[0]}")
            if not has_value and rest and not rest[0].startswith("--"):
                rest.pop(0)
        elif has_value:
            yield name, value
        elif isinstance(fields[name].default, bool) and (not rest or rest[0] not in ("true", "false")):
            yield name, "true"
        elif not rest:
            faults.append(f"--{name} needs a value")
        else:
            yield name, rest.pop(0)


def _convert(entry: dataclasses.Field[Any], value: str | None, faults: list[str]) -> Any:
    """A value of the kind of the option's default; None where it is none."""
    text = value or ""
    if isinstance(entry.default, bool):
        if text not in ("true", "false"):
            faults.append(f"--{entry.name}: expected true or false, found {text!r}")
        return text == "true"
    if isinstance(entry.default, float):
        if not re.fullmatch(NUMBER, text):
            faults.append(f"--{entry.name}: expected a number, found {text!r}")
            return None
        return float(text)
    if isinstance(entry.default, int):
        if not re.fullmatch(r"[0-9]+", text):
            faults.append(f"--{entry.name}: expected a whole number, found {text!r}")
            return None
        return int(text)
    return text


def absolute_places(
    words: Sequence[str], places: Collection[str], user_dir: Path, lists: Collection[str] = ()
) -> list[str]:
    """Make paths absolute that are there where the user is; all others are left as they are.

    Args:
        words: A command line.
        places: Options that name a place of the user's.
        user_dir: Where the user is.
        lists: Options with several words, separated by spaces; those with a slash name such a place.
    """
    found = []
    name = ""  # of the option that a value belongs to
    for word in words:
        head, value = "", word
        if word.startswith("--"):
            option_word, has_value, value = word.partition("=")
            name = option_word[2:].replace("-", "_")
            if not has_value:
                found.append(word)
                continue
            head = f"{option_word}="
        if name in places:
            value = _absolute(value, user_dir)
        elif name in lists:
            value = " ".join(_absolute(each, user_dir) if "/" in each else each for each in value.split())
        name = ""
        found.append(head + value)
    return found


def _absolute(place: str, user_dir: Path) -> str:
    """Make a path absolute if it is there where the user is."""
    is_there = place and not Path(place).is_absolute() and (user_dir / place).exists()
    return str(user_dir / place) if is_there else place


def to_words(options: Any) -> list[str]:
    """The options that differ from their defaults, as a command line that gives them again."""
    words = []
    for entry in dataclasses.fields(options):
        value = getattr(options, entry.name)
        if value != entry.default:
            words += [f"--{entry.name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def format_help(options: Any, without: Collection[str] = ()) -> str:
    """The options with the values that are in force, under their headings.

    Args:
        options: The options.
        without: Names of those that are left out.
    """
    lines = []
    for entry in dataclasses.fields(options):
        if entry.name in without:
            continue
        if entry.metadata["group"]:
            lines += ["", entry.metadata["group"]]
        value = getattr(options, entry.name)
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"  --{entry.name:<16} {entry.metadata['help']} [{shown}]")
    return "\n".join(lines)
