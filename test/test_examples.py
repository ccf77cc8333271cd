"""The commands that entry points show in their help can be pasted: their parsers take them."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
from pathlib import Path

import pytest

from speechllama.recipe.options import Options, TableOptions
from speechllama.train.options import Kind, known_options
from test.test_imports import MODULES

PREFIX = "python3 -m speechllama.bin."
ENTRY_POINTS = [name for name in MODULES if name.startswith("speechllama.bin.")]

# These take the options of run.sh and run_table.sh besides their own.
TAKE_RECIPE_OPTIONS = ("speechllama.bin.preflight", "speechllama.bin.write_table")
RECIPE_OPTIONS = {f"--{field.name}" for kind in (Options, TableOptions) for field in dataclasses.fields(kind)}
# These take the options of ESPnet's trainer besides ours.
TRAININGS: dict[str, Kind] = {
    "speechllama.bin.ctc_train": "ctc",
    "speechllama.bin.llm_train": "system",
    "speechllama.bin.seq2seq_train": "seq2seq",
}


def read_examples(doc: str) -> list[list[str]]:
    """The commands of a docstring, continued lines joined, as words after `python3 -m speechllama.bin.`."""
    lines = [line.strip() for line in doc.replace("\\\n", " ").splitlines()]
    return [shlex.split(line.removeprefix(PREFIX)) for line in lines if line.startswith(PREFIX)]


EXAMPLES = [
    (module, words) for module in ENTRY_POINTS for words in read_examples(importlib.import_module(module).__doc__ or "")
]


@pytest.mark.parametrize(("module", "words"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_an_example_is_of_this_entry_point_and_its_options_are_right(module: str, words: list[str]) -> None:
    entry = importlib.import_module(module)
    assert module.endswith(f".{words[0]}")
    if hasattr(entry, "get_parser"):
        _, others = entry.get_parser().parse_known_args(words[1:])
        unknown = {word for word in others if word.startswith("--")}
        if module in TRAININGS:
            unknown -= {f"--{name}" for name in known_options(TRAININGS[module])}
        assert not unknown or (module in TAKE_RECIPE_OPTIONS and unknown <= RECIPE_OPTIONS)


@pytest.mark.parametrize("module", [name for name in ENTRY_POINTS if name != "speechllama.bin"])
def test_every_entry_point_has_a_command_to_paste(module: str) -> None:
    assert read_examples(importlib.import_module(module).__doc__ or "")


@pytest.mark.parametrize(("module", "words"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_yaml_of_an_example_is_one_of_the_mini_recipe(module: str, words: list[str], root: Path) -> None:
    if "--config" in words:
        assert (root / "egs/mini_covost2" / words[words.index("--config") + 1]).is_file()


def test_continued_lines_are_one_command() -> None:
    doc = f"Do it.\n\nExample:\n    {PREFIX}x --a 1 \\\n        --b '2 3'\n    {PREFIX}x\n"
    assert read_examples(doc) == [["x", "--a", "1", "--b", "2 3"], ["x"]]
