"""Configs of the recipes, found as a run finds them: recipe, size and name -> merged settings."""

from __future__ import annotations

from pathlib import Path

import yaml

from speechllama.config import Loaded, find_config, load_config
from speechllama.recipe.system import ConfFolders

EGS = Path(__file__).resolve().parents[1] / "egs"
# Recipe and size; "": the recipe's own.
SIZES = (
    *(("covost2", ""), ("covost2", "small"), ("mini_covost2", ""), ("tatoeba", ""), ("tatoeba", "small")),
    *(("librispeech", ""), ("librispeech", "small")),
)
OWN_LLMS = (("mini_covost2", ""), ("tatoeba", ""), ("tatoeba", "small"))  # those that train their LLM


def conf_folders(recipe: str, size: str = "") -> list[Path]:
    """List the folders in which a recipe's configs are looked for, first to last."""
    return ConfFolders(size, EGS / recipe / "conf").folders


def load(recipe: str, size: str, name: str) -> Loaded:
    """Read the config `name` (without .yaml) of a recipe at a size, with all that it includes.

    Raises:
        FileNotFoundError: No folder of the search path has it.
    """
    folders = conf_folders(recipe, size)
    path = find_config(f"{name}.yaml", folders)
    if path is None:
        raise FileNotFoundError(f"{name}.yaml: no such config in {', '.join(map(str, folders))}")
    return load_config(path, folders)


def write_merged(recipe: str, size: str, name: str, folder: Path) -> Path:
    """Write a config's merged settings as one YAML, which needs no search path."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(load(recipe, size, name).settings), encoding="utf-8")
    return path
