"""Stage lora starts from somebody's adapter, and resumes without it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.share.llm import export_adapter


def test_the_lora_stage_starts_from_an_adapter_and_resumes_without_it(recipe: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    export_adapter(recipe.root / "e6", folder)
    start = ["--init_from", str(recipe.root / "e5"), "--init_adapter", str(folder)]
    settings: dict[str, Any] = {"prefix_mask": "non_causal", "llm_conf": recipe.lora, "optim_conf": {"lr": 1e-6}}
    trained = recipe.train_llm("e6_from", *start, max_epoch=1, **settings)
    begun, ended = recipe.load(recipe.root / "e6/model.pth"), recipe.load(trained / "1epoch.pth")
    names = [name for name in begun if "lora_B" in name]
    for name in names:
        torch.testing.assert_close(ended[name], begun[name], atol=1e-4, rtol=1e-4)  # a fresh one has zeros there
        assert begun[name].abs().max() > 1e-3
    recorded = yaml.safe_load((trained / "config.yaml").read_text())
    assert recorded["init_adapter"] == str(folder) and len(recorded["init_adapter_fingerprint"]) == 32

    other = tmp_path / "other"
    export_adapter(recipe.root / "e6", other)
    (other / "adapter_config.json").write_text((other / "adapter_config.json").read_text().replace("0.0", "0.1"))
    with pytest.raises(ValueError, match="init_adapter_fingerprint: '.*', now '.*'"):
        recipe.train_llm("e6_from", *start[:-1], str(other), max_epoch=2, **settings)
    shutil.rmtree(folder)
    recipe.train_llm("e6_from", *start, max_epoch=2, **settings)
    assert (trained / "2epoch.pth").is_file()
    again = yaml.safe_load((trained / "config.yaml").read_text())
    assert again["init_adapter_fingerprint"] == recorded["init_adapter_fingerprint"]
    with pytest.raises(FileNotFoundError, match="theirs/adapter_config.json: no adapter there"):
        recipe.train_llm("e6_anew", *start, max_epoch=1, **settings)


def test_an_adapter_needs_a_training_of_adapters(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--init_adapter .* needs llm_conf: train: lora, found frozen"):
        recipe.train_llm("frozen", "--init_adapter", str(tmp_path))
