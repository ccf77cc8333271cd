"""What a training says of its time, updates and memory, also when it was stopped and resumed."""

from __future__ import annotations

import datetime
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.files import read_json
from speechllama.llm.text_lines import TextCorpus
from speechllama.llm.text_llm import TextLLMConfig, target_loss, train_text_llm
from speechllama.train.resume import EpochInFlight
from speechllama.training_record import average_record_path, sum_epochs, training_record_path, update_training_record


def test_epochs_are_summed_in_every_form_the_host_saves() -> None:
    stats: dict[int, Any] = {
        1: {
            "train": {"time": datetime.timedelta(seconds=10), "total_count": 7},
            "valid": {"time": {"__timedelta_seconds__": 2.5}, "total_count": 2},
        },
        2: {"train": {"time": 9.0, "total_count": 14}, "valid": {"time": 1.0, "total_count": 4}},
    }
    assert sum_epochs(stats, accum_grad=1) == (22.5, 14)
    assert sum_epochs(stats, accum_grad=3) == (22.5, 4), "seven batches are two updates, and the last is left out"


def test_the_greatest_memory_of_several_runs_stays(tmp_path: Path) -> None:
    update_training_record(tmp_path, peak_gb=2.0, peak_of="a GPU")
    update_training_record(tmp_path, peak_gb=1.0, peak_of="this process", seconds=3.0)
    assert read_json(training_record_path(tmp_path)) == {"peak_gb": 2.0, "peak_of": "a GPU", "seconds": 3.0}


def test_a_training_stopped_inside_an_epoch_has_the_updates_of_one_unbroken(
    recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe.train_llm("timed_whole", batch_bins=60, max_epoch=2)
    original, checks = EpochInFlight.save_or_stop, []

    def save_or_stop(self: EpochInFlight) -> None:
        checks.append(self.num_done)
        if len(checks) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(EpochInFlight, "save_or_stop", save_or_stop)
        with pytest.raises(SystemExit):
            recipe.train_llm("timed_broken", batch_bins=60, max_epoch=2)
    broken = recipe.root / "timed_broken"
    before = read_json(training_record_path(broken))
    assert before["peak_gb"] > 0 and "num_updates" not in before, "of a training that is not at its end"
    recipe.train_llm("timed_broken", batch_bins=60, max_epoch=2)
    expected, found = (read_json(training_record_path(folder)) for folder in (whole, broken))
    assert found["num_updates"] == expected["num_updates"] > 2
    assert found["num_epochs"] == 2 and found["peak_of"] == "this process" and found["num_processes"] == 1
    stats = torch.load(broken / "checkpoint.pth", weights_only=False)["reporter"]["stats"]
    assert found["seconds"] == pytest.approx(sum_epochs(stats, 1)[0], abs=1e-3)
    recipe.train_llm("timed_broken", batch_bins=60, max_epoch=2)
    again = read_json(training_record_path(broken))
    assert (again["seconds"], again["num_updates"]) == (found["seconds"], found["num_updates"])


def test_an_average_says_which_epochs_it_is_of(recipe: Any) -> None:
    record = read_json(average_record_path(recipe.root / "ctc"))
    assert record["num_best"] == 2 and record["criterion"] == "valid.loss.min"
    assert sorted(record["epochs"]) == [1, 2]


def test_the_texts_llm_keeps_its_seconds_when_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, folder = tmp_path / "text.tsv", tmp_path / "llm"
    rows = [f"de\tder hund {index}\tthe dog {index}" for index in range(20)]
    text.write_text("\n".join(["lang\tsentence\ttranslation", *rows]) + "\n", encoding="utf-8")
    config = TextLLMConfig(120, width=16, num_layers=1, num_heads=2, ffn_dim=16, num_steps=203, batch_size=2)
    calls: list[None] = []

    def fail(*inputs: Any, **more: Any) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 202:
            raise RuntimeError("the power is gone")
        return target_loss(*inputs, **more)

    with monkeypatch.context() as patch:
        patch.setattr("speechllama.llm.text_llm.target_loss", fail)
        with pytest.raises(RuntimeError, match="the power is gone"):
            train_text_llm(config, TextCorpus(text, ["die katze"]), folder)
    log = read_json(folder / "train/checkpoint-200/trainer_state.json")["log_history"]
    (kept,) = [entry["training_seconds"] for entry in log if "training_seconds" in entry]
    train_text_llm(config, TextCorpus(text, ["die katze"]), folder)
    record = read_json(training_record_path(folder))
    assert record["num_updates"] == 203 and record["seconds"] > kept > 0 and record["peak_gb"] > 0
