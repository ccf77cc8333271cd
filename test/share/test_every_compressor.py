"""The systems of the table that differ in compressor, mask and LoRA (E1 to E5) are packed and translate as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import pack
from speechllama.decode.speech2text import Speech2Text


@pytest.mark.parametrize(
    ("name", "compressor", "prefix_mask", "has_lora"),
    [
        ("e1", "blank_removal", "causal", False),
        ("e2", "blank_removal", "non_causal", False),
        ("e3", "frame_average", "causal", False),
        ("e4", "frame_average", "causal", True),
        ("e5", "frame_average", "non_causal", False),
    ],
)
def test_a_packed_system_translates_as_its_experiment(
    recipe: Any, tmp_path: Path, name: str, compressor: str, prefix_mask: str, has_lora: bool
) -> None:
    source = "compressed"
    if compressor == "blank_removal":
        source = "without_blanks"
        for part in ("train", "dev"):
            recipe.compress(part, "--compressor", compressor, name=source)
    settings = {"compressor": compressor, "prefix_mask": prefix_mask, **({"llm_conf": recipe.lora} if has_lora else {})}
    system = recipe.train_llm(f"packed_{name}", "--max_epoch", "1", source=source, **settings)
    recipe.average(system.name)
    pack.main(["--exp_dir", str(system), "--output", str(tmp_path / "it.zip"), "--include_llm", "true"])
    own, packed = (Speech2Text.from_pretrained(place) for place in (system, tmp_path / "it.zip"))
    recipe.assert_same_texts(packed, own)
    recipe.assert_same_segments(packed, own)
