"""Our own exceptions: what a user can repair is told apart from a fault of the program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from speechllama.faults import InputError, MissingFileError, raise_all
from speechllama.options import UsageError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "speechllama").rglob("*.py"))
LIBRARIES = {"ValueError", "FileNotFoundError"}  # what Python and libraries raise: `run_main` takes it for a fault


def test_what_a_user_can_repair_is_also_what_it_always_was() -> None:
    assert issubclass(InputError, ValueError) and issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(UsageError, InputError)
    with pytest.raises(InputError, match="2 faults of the corpus"):
        raise_all(["a", "b"], "corpus")


def test_our_code_raises_its_own_exceptions() -> None:
    faults = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                if node.exc.func.id in LIBRARIES:
                    faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.exc.func.id}")
    assert len(SOURCES) > 150 and faults == []
