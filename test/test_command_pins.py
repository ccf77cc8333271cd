"""What must stay as it is when code moves: the commands of every recipe.

    test/pins/<recipe>[.<variant>].txt   `run.sh --dry_run` with the real configs, a section a system
    egs/mini_covost2/COMMANDS.md         the same of one run, to be read: the whole experiment on a page

To write them anew, then to see what is different:

    WRITE_PINS=1 python3 -m pytest test/test_command_pins.py
    git diff test/pins egs/mini_covost2/COMMANDS.md

The rule: a commit that changes a pin names the pin and says why it changes.

The options of the preflight are not pinned, since a preflight makes nothing that another stage reads.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from speechllama.recipe.system import ConfFolders
from test.conftest import ROOT
from test.test_config_pins import PATH as CONFIG_PINS
from test.test_training_pins import TRAINING

PAGE = Path("egs/mini_covost2/COMMANDS.md")
PINS = ROOT / "test" / "pins"
IS_WRITING = bool(os.environ.get("WRITE_PINS"))

HEADING = re.compile(r"## stage (\d+) (\w+):(?P<skipped> not needed)?")
COMMAND = re.compile(r" {3}(python3|local/data\.sh) ")
PREFLIGHT = "   python3 -m speechllama.bin.preflight"
SYSTEM = re.compile(r"[bdeu]\d*(_\w+)?\.yaml")  # decoder.yaml and the like are none
ROWS = ("ctc", "b1", "b2", "e3", "e5", "e6")  # of the table of librispeech
KINDS = ("b1", "d", "e5", "e6", "u")  # one system of each kind


@dataclass(frozen=True)
class Variant:
    """Options with which the systems of a recipe are pinned.

    Attributes:
        recipe: Its folder in egs/.
        name: Of the pins, after the recipe's name; empty: the recipe as it is.
        options: Of run.sh.
        size: Folder of the configs in conf/.
        systems: Those pinned; empty: all.
        launcher: Where jobs run.
    """

    recipe: str
    name: str = ""
    options: tuple[str, ...] = ()
    size: str = ""
    systems: tuple[str, ...] = ()
    launcher: str = "local"

    @property
    def path(self) -> Path:
        """The file of its pins."""
        return PINS / ".".join(filter(None, (self.recipe, self.name, "txt")))

    def arguments(self, system: str) -> list[str]:
        """Those of run.sh."""
        return ["--dry_run", "--system", system, *(["--size", self.size] if self.size else []), *self.options]


VARIANTS = [
    Variant("mini_covost2"),
    Variant("mini_covost2", "asr", ("--task", "asr"), systems=KINDS),
    Variant("mini_covost2", "ctc_translation", ("--ctc_target", "translation"), systems=("e5",)),
    Variant("mini_covost2", "seed7", ("--seed", "7"), systems=KINDS),
    Variant("mini_covost2", "from_features", ("--from_features",), systems=KINDS),
    Variant("mini_covost2", "ngpu4", ("--ngpu", "4"), systems=KINDS),
    Variant("mini_covost2", "nodes2", ("--num_nodes", "2", "--ngpu", "4"), systems=KINDS, launcher="slurm"),
    Variant("covost2", options=("--llm", "some/hubid")),
    Variant("covost2", "small", ("--llm", "some/hubid"), size="small"),
    Variant("tatoeba"),
    Variant("tatoeba", "small", size="small"),
    Variant("librispeech", options=("--llm", "some/hubid"), systems=ROWS),
    Variant(
        "librispeech", "small", ("--llm", "some/hubid", "--sets", "test a/real"), size="small", systems=("ctc", "e6")
    ),
]


class Checkout:
    """The shell of the project and its recipes as a fresh checkout has them, with a fake python3."""

    def __init__(self, folder: Path) -> None:
        self.egs = folder / "checkout/egs"
        self.bin = folder / "bin"
        made = shutil.ignore_patterns("venv*", "__pycache__", "dump", "exp", "downloads", "*.md")
        for name in ("egs", "tools", "utils", "speechllama"):  # the package plans
            shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=made)  # links become files
        self.bin.mkdir()
        shutil.copy(ROOT / "test/fakes/python3", self.bin / "python3")
        self.environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "FAKE_CALLS": str(folder / "calls")}
        self.environment["FAKE_PYTHON"] = sys.executable

    def systems(self, variant: Variant) -> list[str]:
        """The systems that a variant has."""
        shared = self.egs / "TEMPLATE/conf"
        folders = ConfFolders(variant.size, self.egs / variant.recipe / "conf", shared).folders
        names = {path.stem for folder in folders for path in folder.glob("*.yaml")}
        return [*variant.systems] or [name for name in sorted(names) if SYSTEM.fullmatch(f"{name}.yaml")]

    def stages(self, variant: Variant, system: str) -> dict[str, list[str]]:
        """A dry run: the heading of each stage -> its commands."""
        return parse_stages(self.dry_run(Path("egs", variant.recipe), variant.arguments(system), variant.launcher))

    def dry_run(self, recipe: Path, options: list[str], launcher: str = "local") -> str:
        """What a recipe prints with these options."""
        result = subprocess.run(
            [str(self.egs.parent / recipe / "run.sh"), *options],
            env=os.environ | self.environment | {"launcher": launcher},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{recipe} {options}: {result.stderr}"
        return result.stdout


def parse_stages(output: str) -> dict[str, list[str]]:
    """Headings without their titles, and commands: what is pinned of a dry run. Rows of one stage share a heading."""
    stages: dict[str, list[str]] = {}
    for line in output.splitlines():
        heading = HEADING.match(line)
        if heading:
            number, name, skipped = heading.groups()
            commands = stages.setdefault(f"## stage {number} {name}" + (": not needed" if skipped else ""), [])
        elif COMMAND.match(line):
            commands.append(PREFLIGHT if line.startswith(PREFLIGHT) else line.rstrip())
    return stages


def format_pins(variant: Variant, systems: dict[str, dict[str, list[str]]]) -> str:
    """The file of a variant; a stage with the commands of an earlier system's only names that system."""
    lines = [f"# egs/{variant.recipe}/run.sh {' '.join(variant.arguments('SYSTEM'))}"]
    if variant.launcher != "local":
        lines.append(f"# with launcher={variant.launcher}")
    first: dict[tuple[str, ...], str] = {}
    for system, stages in systems.items():
        lines += ["", f"# {system}"]
        for heading, commands in stages.items():
            owner = first.setdefault((heading, *commands), system)
            is_known = owner != system and commands
            lines += [f"{heading}: as {owner}"] if is_known else [heading, *commands]
    return "\n".join(lines) + "\n"


def labelled_options(pins: str) -> list[str]:
    """Every option of every command on a line of its own that says where it belongs, for a diff that one can read."""
    lines, system, stage = [], "", ""
    for line in pins.splitlines():
        if line.startswith("## "):
            stage = line[3:]
            lines.append(f"{system}: {stage}")
        elif line.startswith("# "):
            system = line[2:]
            lines.append(line)
        elif line:
            words = re.split(r" (?=--)", line.strip())
            lines += [f"{system}: {stage}: {words[0]}", *(f"{system}: {stage}: ... {word}" for word in words[1:])]
    return lines


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh checkout; dry runs leave it so."""
    return Checkout(tmp_path_factory.mktemp("dry"))


@pytest.mark.recipe
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.path.stem)
def test_a_recipe_prints_the_commands_it_printed(checkout: Checkout, variant: Variant) -> None:
    systems = checkout.systems(variant)
    with ThreadPoolExecutor(2) as threads:
        stages = list(threads.map(lambda system: checkout.stages(variant, system), systems))
    found = format_pins(variant, dict(zip(systems, stages, strict=True)))
    if IS_WRITING:
        variant.path.write_text(found, encoding="utf-8")
    expected = variant.path.read_text(encoding="utf-8")
    names = (f"pinned in {variant.path.name}", "printed now")
    diff = difflib.unified_diff(labelled_options(expected), labelled_options(found), *names, n=1, lineterm="")
    assert found == expected, "\n".join(["the commands are others:", *diff])


@pytest.mark.recipe
def test_the_page_of_commands_is_the_dry_run(checkout: Checkout) -> None:
    head, fence, _ = (ROOT / PAGE).read_text(encoding="utf-8").partition("```sh\n")
    found = head + fence + checkout.dry_run(PAGE.parent, ["--dry_run", "--stage", "1"]) + "```\n"
    if IS_WRITING:
        (ROOT / PAGE).write_text(found, encoding="utf-8")
    assert (ROOT / PAGE).read_text(encoding="utf-8") == found


def test_every_file_of_pins_is_compared() -> None:
    names = {TRAINING.name, CONFIG_PINS.name, *(variant.path.name for variant in VARIANTS)}
    assert {path.name for path in PINS.iterdir()} == names


def test_the_pins_of_a_dry_run_are_its_stages_and_commands() -> None:
    output = (
        "## stage 0 preflight: checks (exp)\n   python3 -m speechllama.bin.preflight --nj 2 \n   a remark\n"
        "## stage 5 ctc: not needed: why\n## stage 11 decode: of dev\n   python3 -m a --b c \n"
        "## stage 11 decode: of test\n   python3 -m a --d \n"
    )
    stages = parse_stages(output)
    commands = ["   python3 -m a --b c", "   python3 -m a --d"]
    assert list(stages) == ["## stage 0 preflight", "## stage 5 ctc: not needed", "## stage 11 decode"]
    assert list(stages.values()) == [[PREFLIGHT], [], commands]
    text = format_pins(Variant("mini_covost2"), {"b1": stages, "b2": stages})
    assert text.count("   python3 -m a --b c") == 1 and "## stage 11 decode: as b1\n" in text
    assert "b1: stage 11 decode: ... --b c" in labelled_options(text)
