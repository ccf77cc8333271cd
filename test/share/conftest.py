"""A recipe whose systems are decoded and scored, as a repository on a hub describes them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechllama.bin import decode, score
from speechllama.report.results import write_results


@pytest.fixture(scope="session")
def scored(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder exp of a recipe: E5 and E6, scored with their controls, and RESULTS.md."""
    exp = tmp_path_factory.mktemp("scored") / "exp"
    for system in ("e5", "e6"):
        shutil.copytree(recipe.root / system, exp / system)
        places = [str(exp / system / f"decode_test_beam2{end}") for end in ("", "_control")]
        for place, control in zip(places, ("false", "true"), strict=True):
            decode.main(
                ["--exp_dir", str(exp / system), "--data_dir", str(recipe.root / "test/compressed")]
                + ["--output_dir", place, "--beam_size", "2", "--control", control]
            )
        words = ["--hyp_dir", places[0], "--control_dir", places[1]]
        score.main([*words, "--data_dir", str(recipe.root / "test/compressed"), "--task", "st"])
    write_results(exp, "Noise")
    return exp


@pytest.fixture
def edit_settings() -> Any:
    """Change settings in the config.yaml of an experiment."""

    def edit(folder: Path, **settings: Any) -> None:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **settings}))

    return edit
