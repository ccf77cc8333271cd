"""A run warns of nothing that the libraries will take away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from test.trained_recipe import LORA

ROOT = Path(__file__).resolve().parents[2]


def test_training_and_decoding_use_nothing_that_is_deprecated(recipe: Any, tmp_path: Path) -> None:
    words = recipe.llm_command("quiet", "--init_from", str(recipe.root / "e5"), prefix_mask="non_causal", llm_conf=LORA)
    decoded = ["--exp_dir", str(recipe.root / "e6"), "--data_dir", str(recipe.root / "test/dump")]
    for name, command in (("llm_train", words), ("decode", [*decoded, "--output_dir", str(tmp_path)])):
        program = [sys.executable, "-W", "error::FutureWarning", "-W", "error::DeprecationWarning:speechllama"]
        done = subprocess.run(
            [*program, "-m", f"speechllama.bin.{name}", *command], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Warning:" not in done.stderr
