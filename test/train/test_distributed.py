"""Two processes that share every batch train what one process trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.frontend.front_ends import choose_front_end
from test.frontend.encoders import make_encoder
from test.trained_recipe import SIZES, Recipe

pytestmark = pytest.mark.recipe  # several programs for each test
PROCESSES = 2


def train_shared(recipe: Any, words: list[str]) -> None:
    """Run llm_train as a recipe does with several GPUs, here on CPUs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES)]
    command += ["-m", "speechllama.bin.llm_train", *words, "--multiprocessing_distributed", "false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--dist_backend", "gloo"], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert f"shared by {PROCESSES} processes" in result.stdout + result.stderr


@pytest.mark.parametrize("stage", ["audio_encoder", "lora", "distilled"])
def test_two_processes_train_the_parameters_of_one(recipe: Any, stage: str) -> None:
    settings: dict[str, Any] = {"prefix_mask": "non_causal", "batch_bins": 120, "optim": "sgd"}
    settings["optim_conf"] = {"lr": 0.1}  # Adam's first steps are signs of gradients: they would hide a wrong scale
    more: list[str] = []
    if stage != "audio_encoder":
        settings["llm_conf"], more = recipe.lora, ["--init_from", str(recipe.root / "e5")]
    if stage == "distilled":  # the teacher switches the adapters off and on
        settings["distill_conf"] = {"weight": 0.5, "temperature": 2.0}
    # ESPnet wants at least one utterance a process in each batch; one process is given the same batches.
    more += ["--min_batch_size", str(PROCESSES), "--max_epoch", "2"]
    one, two = recipe.root / f"{stage}_alone", recipe.root / f"{stage}_shared"
    recipe.train_llm(one.name, *more, **settings)
    train_shared(recipe, recipe.llm_command(two.name, *more, **settings))
    single, shared = recipe.load(one / "2epoch.pth"), recipe.load(two / "2epoch.pth")
    assert single.keys() == shared.keys()
    begin = recipe.load(one / "1epoch.pth")
    moved = max(float((begin[name].double() - single[name].double()).abs().max()) for name in single)
    assert moved > 1e-3  # the updates are large compared with the tolerance
    for name, tensor in single.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-5, rtol=1e-4)
    stats = [torch.load(path / "checkpoint.pth", weights_only=False)["reporter"]["stats"] for path in (one, two)]
    for epoch in (1, 2):
        for phase in ("train", "valid"):
            values = [part[epoch][phase]["loss"] for part in stats]
            assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert stats[0][1]["train"]["total_count"] >= 2  # several updates an epoch


@pytest.mark.parametrize("train", ["lora", "full"])
def test_two_processes_train_a_front_end_as_one_does(
    tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path, train: str
) -> None:
    encoder = make_encoder(tmp_path_factory.mktemp("wav2vec2"), "wav2vec2")
    # Of the first layer only: weights without a gradient would stop data-parallel training.
    conf = {"path": str(encoder), "layers": [1], "train": train, "lora": {"rank": 2}}
    recipe = Recipe(tmp_path_factory.mktemp(train), tiny_llm, choose_front_end("hf", conf))
    encoder_conf = {"conv_channels": 2, "transformer": SIZES, "spec_augment": recipe.masks}
    settings: dict[str, Any] = {"compressor": "convolution", "freeze_encoder": False, "encoder_conf": encoder_conf}
    settings |= {"batch_bins": 120, "optim": "sgd", "optim_conf": {"lr": 0.1}}
    more = ["--min_batch_size", str(PROCESSES), "--max_epoch", "2"]
    recipe.train_llm("alone", *more, source="dump", **settings)
    train_shared(recipe, recipe.llm_command("shared", *more, source="dump", **settings))
    single, shared = (recipe.load(recipe.root / name / "2epoch.pth") for name in ("alone", "shared"))
    begin = recipe.load(recipe.root / "alone/1epoch.pth")
    own = [name for name in single if ".front_end." in name]
    assert own and any(not torch.equal(begin[name], single[name]) for name in own)
    for name, tensor in single.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-5, rtol=1e-4)
