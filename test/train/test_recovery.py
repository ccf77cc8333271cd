"""A checkpoint that is truncated, or of the other ESPnet, is still resumed from."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.bin import average_checkpoints
from speechllama.faults import InputError
from speechllama.peak_memory import PeakMemory
from speechllama.training_record import record_training, training_record_path


def test_a_checkpoint_of_the_other_espnet_is_resumed(recipe: Any) -> None:
    recipe.train_llm("other", max_epoch=1)
    state = torch.load(recipe.root / "other/checkpoint.pth", weights_only=False)
    # 202511 writes numpy's numbers and a timedelta, 202611 reads neither
    stats = state["reporter"]["stats"][1]["train"]
    stats.update(time=datetime.timedelta(seconds=3), iter_time=np.float64(0.5))
    torch.save(state, recipe.root / "other/checkpoint.pth")
    recipe.train_llm("other", max_epoch=2)
    assert (recipe.root / "other/2epoch.pth").is_file()


@pytest.mark.parametrize("truncated", ["checkpoint.pth", "2epoch.pth", "both"])
def test_a_kill_while_saving_loses_at_most_the_epoch_in_flight(recipe: Any, truncated: str) -> None:
    folder = recipe.root / f"truncated_{truncated}"
    shutil.copytree(recipe.root / "e5", folder)
    for name in ["checkpoint.pth", "2epoch.pth"] if truncated == "both" else [truncated]:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    recipe.train_llm(folder.name, prefix_mask="non_causal")
    repaired, whole = recipe.load(folder / "2epoch.pth"), recipe.load(recipe.root / "e5/2epoch.pth")
    assert all(torch.equal(repaired[name], whole[name]) for name in whole)


def test_statistics_are_read_without_running_what_the_checkpoint_of_a_stranger_holds(
    recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    state = torch.load(recipe.root / "e5/checkpoint.pth", weights_only=False)
    torch.save({**state, "schedulers": [Evil()]}, tmp_path / "checkpoint.pth")
    for epoch in (1, 2):
        shutil.copy(recipe.root / f"e5/{epoch}epoch.pth", tmp_path)
    with pytest.raises(InputError, match=r"checkpoint\.pth: cannot be read: .* which might run code"):
        average_checkpoints.main(["--exp_dir", str(tmp_path)])
    record_training(tmp_path, 1, PeakMemory("cpu"))
    assert "training.json is not written: " in caplog.text and not training_record_path(tmp_path).exists()
    assert not (tmp_path / "ran").exists()
    torch.save(state, tmp_path / "checkpoint.pth")
    average_checkpoints.main(["--exp_dir", str(tmp_path)])
    record_training(tmp_path, 1, PeakMemory("cpu"))
    assert training_record_path(tmp_path).is_file()
