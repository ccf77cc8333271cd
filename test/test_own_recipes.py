"""Recipes that these tests do not know by name: all in egs/ are found, and trainers know their settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechllama.config import from_mapping
from speechllama.llm.scratch_llm import LlamaConfig
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.recipe.preflight.run import read_settings
from speechllama.recipe.system import ConfFolders
from test.recipe_configs import EGS, SIZES

TEMPLATE = EGS / "TEMPLATE" / "conf"
OWN = sorted(path.parent for path in EGS.glob("*/run.sh") if path.parent.name not in {recipe for recipe, _ in SIZES})


def find_faults(recipe: Path) -> list[str]:
    """What is wrong with a recipe's folder, whatever its name."""
    faults = [] if os.access(recipe / "run.sh", os.X_OK) else ["run.sh cannot be run (chmod +x)"]
    scripts = ("local/data.sh", "local/prepare.py")
    has_record = "--corpus_kind" in (recipe / "run.sh").read_text(encoding="utf-8")
    if not has_record and not any((recipe / script).is_file() for script in scripts):
        faults.append(f"none of {', '.join(scripts)}, and no --corpus_kind in run.sh")
    folders = {"": recipe / "conf", **{path.name: path for path in (recipe / "conf").glob("*") if path.is_dir()}}
    for size, folder in folders.items():
        for path in sorted(folder.glob("*.yaml")) if size not in ("frontend", "llm") else ():
            try:
                check_yaml(path.stem, ConfFolders(size, recipe / "conf", TEMPLATE))
            except ValueError as error:
                faults.append(str(error))
    return faults


def check_yaml(name: str, folders: ConfFolders) -> None:
    """Read a YAML as its stage does.

    Raises:
        ValueError: A setting is unknown.
    """
    config = folders.read(name)
    shapes = {"llm": TextLLMConfig, "decoder": LlamaConfig}
    if name in shapes:
        from_mapping(shapes[name], config.settings, config.path)
    elif not {"rescore_system", "transcribe_system"} & config.settings.keys():
        kind = "seq2seq" if config.settings.get("model") == "seq2seq" else "ctc" if name == "ctc" else "system"
        read_settings(config, "", kind)


@pytest.mark.parametrize("recipe", [*OWN, EGS / "covost2"], ids=lambda path: path.name)
def test_every_recipe_can_be_run_and_has_settings_that_the_trainers_know(recipe: Path) -> None:
    assert find_faults(recipe) == []


def test_what_is_wrong_with_a_recipe_is_told(tmp_path: Path) -> None:
    conf = tmp_path / "radio/conf"
    (conf / "small").mkdir(parents=True)
    (tmp_path / "radio/run.sh").write_text("#!/bin/sh\n")
    (conf / "ctc.yaml").write_text("include: ctc.yaml\nmax_epochs: 3\n")
    (conf / "small/llm.yaml").write_text("widht: 8\n")
    (conf / "e7.yaml").write_text("include: e5.yaml\n")
    (conf / "cascade_b1.yaml").write_text("transcribe_system: b1\n")
    run, script, epochs, width = find_faults(tmp_path / "radio")
    assert "chmod +x" in run and "local/prepare.py" in script
    assert "max_epochs" in epochs and "did you mean 'max_epoch'" in epochs and "widht" in width
