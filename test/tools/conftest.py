"""The tiny recipe of the stress tools, made once for all of their tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.stress.forked import preload
from tools.stress.recipe import TinyRecipe


@pytest.fixture(scope="session")
def stress_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory of the stress tools, with the recipe in it."""
    folder = tmp_path_factory.mktemp("stress")
    preload()
    TinyRecipe(folder / "base").make()
    return folder
