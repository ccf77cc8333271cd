"""utils/check.sh with fake checkers: what it says where a Python is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FAKE = """#!/usr/bin/env bash
case "$*" in
  -V) echo "Python 3.11.7" ;;
  "-c import sys, venv"*) exit 1 ;;
  -c*) echo "$0" ;;
esac
"""


def test_a_missing_python_3_12_is_said_right_before_the_tests(tmp_path: Path, root: Path) -> None:
    for name in ("tools", "utils", ".ci"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("venv*", "__pycache__"))
    for name in ("python3", "python3.12", "shellcheck"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(FAKE)
        (tmp_path / "bin" / name).chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path)}
    result = subprocess.run([str(tmp_path / ".ci/run")], capture_output=True, text=True, check=False, env=env)
    assert result.returncode == 0, result.stderr
    skipped, heading = result.stdout.splitlines()[-2:]
    assert skipped.startswith("== pytest on Python 3.12: SKIPPED, no Python 3.12 was found") and heading == "== pytest"
