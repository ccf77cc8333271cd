"""A recipe of the shell's own: a script on utils/stages.sh, and what of it ran."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

# How such a script begins; its own options and stages follow.
HEAD = """#!/usr/bin/env bash
set -euo pipefail
. "{root}/utils/parse_options.sh"
. "{root}/utils/stages.sh"
# --- options
stage=1        # first
list=false     # list
dry_run=false  # print
"""


class ShellRecipe:
    """A script in a directory with a space in its name; its stages note in `ran` that they run."""

    script: str  # the rest of it, a format

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory
        self.root = root
        directory.mkdir()
        (directory / "input").write_text("1\n")

    def fill_in(self, **values: Any) -> None:
        """(Re)write the script with these values."""
        (self.directory / "run.sh").write_text((HEAD + self.script).format(root=self.root, **values))

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        command = ["bash", "run.sh", *arguments]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)

    def ran(self) -> list[str]:
        """What ran since the last call of this method."""
        path = self.directory / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines
