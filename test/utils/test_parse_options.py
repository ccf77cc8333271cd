"""utils/parse_options.sh: the Kaldi habit without its eval."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = """#!/usr/bin/env bash
# A script with options.
set -euo pipefail
. "{root}/utils/parse_options.sh"

# --- options
# Machine
nj=2             # number of jobs
dry_run=false    # only print
src_lang=        # source language
help=false       # print this help
# --- end of options
secret=kept
parse_options "${{BASH_SOURCE[0]}}" "$@"
if $help; then print_header "${{BASH_SOURCE[0]}}"; print_options "${{BASH_SOURCE[0]}}"; exit 0; fi
printf '%s|' "$nj" "$dry_run" "$src_lang" "$secret" "${{positional[@]}}"
"""


@pytest.fixture
def script(tmp_path: Path, root: Path) -> Path:
    """A script with an options block, in a directory with a space in its name."""
    path = tmp_path / "a dir" / "script.sh"
    path.parent.mkdir()
    path.write_text(SCRIPT.format(root=root))
    return path


def call(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "2|false||kept|"),
        (["--nj", "8"], "8|false||kept|"),
        (["--nj", "08"], "8|false||kept|"),
        (["--nj=8", "--src_lang=de"], "8|false|de|kept|"),
        (["--nj", "8", "--nj", "3"], "3|false||kept|"),
        (["--src-lang", "de fr"], "2|false|de fr|kept|"),
        (["--src_lang", ""], "2|false||kept|"),
        (["--dry_run"], "2|true||kept|"),
        (["--dry_run", "--nj", "4"], "4|true||kept|"),
        (["--dry_run", "false"], "2|false||kept|"),
        (["--dry-run=true"], "2|true||kept|"),
        (["a b", "--nj", "4", "--", "--nj", "5"], "4|false||kept|a b|--nj|5|"),
    ],
)
def test_options_set_their_variables(script: Path, arguments: list[str], expected: str) -> None:
    result = call(script, *arguments)
    assert (result.returncode, result.stdout) == (0, expected)


def test_values_are_never_evaluated(script: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    value = f'$(touch {canary}) "; touch {canary}; `touch {canary}`'
    result = call(script, "--src_lang", value)
    assert result.stdout == f"2|false|{value}|kept|"
    assert not canary.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scr_lang", "de"], "unknown option --scr_lang; the nearest is --src_lang"),
        (["--dry_runn"], "unknown option --dry_runn; the nearest is --dry_run"),
        (["--secret", "lost"], "unknown option --secret"),
        (["--*", "lost"], "unknown option --*"),
        (["--@", "lost"], "unknown option --@"),
        (["--nj", "two"], "--nj is a whole number, not 'two'"),
        (["--dry_run=maybe"], "--dry_run is true or false, not 'maybe'"),
        (["--src_lang"], "--src_lang needs a value"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(script: Path, arguments: list[str], message: str) -> None:
    result = call(script, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_all_faults_of_a_command_line_are_told_at_once(script: Path) -> None:
    result = call(script, "--jn", "3", "--nj", "two", "--dry_runn", "--dry_run=maybe", "--src_lung=de", "--src_lang")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.removesuffix(" (--help lists the options)") == (
        "script.sh: unknown option --jn; the nearest is --nj; --nj is a whole number, not 'two'; "
        "unknown option --dry_runn; the nearest is --dry_run; --dry_run is true or false, not 'maybe'; "
        "unknown option --src_lung; the nearest is --src_lang; --src_lang needs a value"
    )


def test_help_prints_header_and_every_option_with_its_present_value(script: Path) -> None:
    result = call(script, "--nj", "7", "--help")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "A script with options."
    assert "Machine" in lines
    for name, text in [("nj", "number of jobs [7]"), ("dry_run", "only print [false]"), ("src_lang", "source")]:
        assert any(line.split()[:1] == [f"--{name}"] and text in line for line in lines)
