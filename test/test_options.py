"""Options as fields of a dataclass: both forms of a command line, every fault at once, and the help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from speechllama.options import (
    UsageError,
    absolute_places,
    at_least_one,
    format_help,
    one_of,
    option,
    parse,
    to_words,
    whole_number,
    whole_numbers,
)


@dataclass(frozen=True)
class Settings:
    """Options of a toy."""

    help: bool = option(False, "print this help")
    nj: int = option(2, "parallel jobs", at_least_one, "The machine")
    dry_run: bool = option(False, "only print")
    src_lang: str = option("", "source language", group="The corpus")
    side: str = option("left", "which side", one_of("left", "right"))
    hours: float = option(1.5, "of speech")
    seed: str = option("", "of trainings", whole_number)
    seeds: str = option("1", "several", whole_numbers)
    out_dir: str = option("out", "where results go")


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        ((), "nj", 2),
        (("--nj", "8"), "nj", 8),
        (("--nj=8",), "nj", 8),
        (("--nj", "08"), "nj", 8),
        (("--nj", "8", "--nj", "3"), "nj", 3),
        (("--src-lang", "de fr"), "src_lang", "de fr"),
        (("--src-lang=de-DE",), "src_lang", "de-DE"),
        (("--src_lang=a=b",), "src_lang", "a=b"),
        (("--src_lang", ""), "src_lang", ""),
        (("--src_lang=",), "src_lang", ""),
        (("--src_lang", "--max_epoch 5"), "src_lang", "--max_epoch 5"),
        (("--src_lang", "$(touch here) `x`"), "src_lang", "$(touch here) `x`"),
        (("--dry_run",), "dry_run", True),
        (("--dry-run", "--nj", "4"), "dry_run", True),
        (("--dry_run", "true"), "dry_run", True),
        (("--dry_run", "false"), "dry_run", False),
        (("--dry_run=false",), "dry_run", False),
        (("--dry_run", "--dry_run", "false"), "dry_run", False),
        (("--hours", "3"), "hours", 3.0),
        (("--hours=.5",), "hours", 0.5),
        (("--hours", "1e-3"), "hours", 0.001),
        (("--seed", "07"), "seed", "07"),
        (("--seeds", "1 02"), "seeds", "1 02"),
    ],
)
def test_an_option_is_read_in_both_forms(words: tuple[str, ...], name: str, expected: object) -> None:
    found = getattr(parse(Settings, words), name)
    assert found == expected and type(found) is type(expected)


def test_words_override_settings() -> None:
    assert parse(Settings, ["--nj", "3"], ["--nj", "4", "--side", "right"]) == Settings(nj=3, side="right")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scr_lang", "de"), "^unknown option --scr_lang; the nearest is --src_lang$"),
        (("--dry_runn",), "^unknown option --dry_runn; the nearest is --dry_run$"),
        (("--*", "lost"), r"^unknown option --\*; the nearest is --\w+$"),
        (("left",), "^unexpected argument 'left'$"),
        (("-h",), "^unexpected argument '-h'$"),
        (("--",), "^unexpected argument '--'$"),
        (("--nj", "two"), "^--nj: expected a whole number, found 'two'$"),
        (("--nj", "-1"), "^--nj: expected a whole number, found '-1'$"),
        (("--nj", "1.5"), "^--nj: expected a whole number, found '1.5'$"),
        (("--nj", "²"), "^--nj: expected a whole number, found '²'$"),
        (("--nj", ""), "^--nj: expected a whole number, found ''$"),
        (("--nj", "0"), "^--nj: expected at least 1, found 0$"),
        (("--dry_run=maybe",), "^--dry_run: expected true or false, found 'maybe'$"),
        (("--dry_run", "maybe"), "^unexpected argument 'maybe'$"),
        (("--src_lang",), "^--src_lang needs a value$"),
        (("--side", "up"), "^--side: unknown value 'up', expected one of left, right$"),
        (("--hours", "long"), "^--hours: expected a number, found 'long'$"),
        (("--hours", "nan"), "^--hours: expected a number, found 'nan'$"),
        (("--hours", ""), "^--hours: expected a number, found ''$"),
        (("--seed", "one"), "^--seed: expected a whole number, found 'one'$"),
        (("--seeds", "1 x"), "^--seeds: expected whole numbers, found 'x'$"),
        (("--seeds", "²"), "^--seeds: expected whole numbers, found '²'$"),
        (("--seeds", " "), "^--seeds: expected a value, found none$"),
    ],
)
def test_wrong_usage_is_refused_with_the_option_and_the_value(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Settings, words)


def test_all_faults_of_a_command_line_come_at_once() -> None:
    words = ("--jn", "3", "--nj", "two", "--dry_runn", "--dry_run=maybe", "--src_lung=de", "--side=up", "--src_lang")
    with pytest.raises(UsageError) as caught:
        parse(Settings, words)
    assert str(caught.value).split("; ") == [
        *("unknown option --jn", "the nearest is --nj"),
        "--nj: expected a whole number, found 'two'",
        *("unknown option --dry_runn", "the nearest is --dry_run"),
        "--dry_run: expected true or false, found 'maybe'",
        *("unknown option --src_lung", "the nearest is --src_lang"),
        "--src_lang needs a value",
        "--side: unknown value 'up', expected one of left, right",
    ]


def test_help_is_given_in_place_of_checks() -> None:
    assert parse(Settings, ["--help", "--nj", "0"]) == Settings(help=True, nj=0)


def test_options_are_written_as_words_that_give_them_again() -> None:
    options = Settings(nj=3, dry_run=True, src_lang="--a b", hours=0.25)
    words = to_words(options)
    assert words == ["--nj", "3", "--dry_run", "true", "--src_lang", "--a b", "--hours", "0.25"]
    assert parse(Settings, words) == options and to_words(Settings()) == []


def test_the_help_has_every_option_below_its_heading_with_the_value_in_force() -> None:
    assert format_help(Settings(nj=7, dry_run=True)).splitlines() == [
        "  --help             print this help [false]",
        "",
        "The machine",
        "  --nj               parallel jobs [7]",
        "  --dry_run          only print [true]",
        "",
        "The corpus",
        "  --src_lang         source language []",
        "  --side             which side [left]",
        "  --hours            of speech [1.5]",
        "  --seed             of trainings []",
        "  --seeds            several [1]",
        "  --out_dir          where results go [out]",
    ]


def test_only_places_that_are_there_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    words = ["--place", "here", "--place=here", "--the-place=here", "--place", "elsewhere", "--out_dir", "here"]
    assert absolute_places(words, ("place", "the_place"), tmp_path) == [
        *("--place", f"{tmp_path}/here", f"--place={tmp_path}/here", f"--the-place={tmp_path}/here"),
        *("--place", "elsewhere", "--out_dir", "here"),
    ]
    assert absolute_places(["--place", "", "--place", "/t"], ("place",), tmp_path) == ["--place", "", "--place", "/t"]
    assert absolute_places(["--place", "--side", "here"], ("place",), tmp_path) == ["--place", "--side", "here"]


def test_of_a_list_the_words_with_a_slash_are_places(tmp_path: Path) -> None:
    (tmp_path / "here/real").mkdir(parents=True)
    words = ["--sets", "test here/real there/real here", "--sets=here/real", "--other", "here/real"]
    real = f"{tmp_path}/here/real"
    expected = ["--sets", f"test {real} there/real here", f"--sets={real}", "--other", "here/real"]
    assert absolute_places(words, (), tmp_path, ("sets",)) == expected
