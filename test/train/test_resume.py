"""A training that was stopped or killed resumes as if it had never stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.files import read_table, write_table
from speechllama.train.resume import EpochInFlight
from speechllama.train.stop import only_training


def test_training_resumed_equals_training_unbroken(recipe: Any) -> None:
    recipe.train_llm("whole", max_epoch=3)
    recipe.train_llm("broken", max_epoch=1)
    recipe.train_llm("broken", max_epoch=3)
    whole, broken = recipe.load(recipe.root / "whole/3epoch.pth"), recipe.load(recipe.root / "broken/3epoch.pth")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_sampling_over_languages_resumes_as_if_unbroken(recipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    table = recipe.root / "train/compressed/utt2lang"
    original = read_table(table)
    write_table(table, {utt: "fr" if index < 2 else "de" for index, utt in enumerate(sorted(original))})
    settings: dict[str, Any] = {"language_temperature": 100.0, "batch_bins": 150}
    with caplog.at_level("INFO"):
        recipe.train_llm("whole_sampled", max_epoch=3, **settings)
    assert "language_temperature 100: an epoch draws de 6, fr 6" in caplog.text  # of 10 and 2
    recipe.train_llm("broken_sampled", max_epoch=1, **settings)
    recipe.train_llm("broken_sampled", max_epoch=3, **settings)
    recipe.train_llm("unsampled", max_epoch=3, batch_bins=150)
    write_table(table, original)
    names = ("whole_sampled", "broken_sampled", "unsampled")
    whole, broken, other = (recipe.load(recipe.root / name / "3epoch.pth") for name in names)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


NOISY = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.2}
RANDOM_MASKS = {"num_freq_masks": 1, "freq_width": 10, "num_time_masks": 1, "time_ratio": 0.1}
SCHEDULE = {"warmup_steps_list": [0, 4, 12], "warmup_lr_list": [0.0, 0.01, 0.001]}
CHECKS = 5  # of one epoch: one before each of its four batches, one after the last


def train_with_chance(recipe: Any, name: str, *more: str) -> Path:
    """E0 with dropout, SpecAugment, a schedule by updates, three batches an update: all that must be put back."""
    encoder = {"conv_channels": 2, "transformer": NOISY, "spec_augment": RANDOM_MASKS}
    settings: dict[str, Any] = {
        "encoder_conf": encoder,
        "scheduler": "piecewiselinearwarmuplr",
        "scheduler_conf": SCHEDULE,
    }
    settings |= {"compressor": "convolution", "freeze_encoder": False, "batch_bins": 60}
    made = recipe.train_llm(name, "--accum_grad", "3", *more, source="dump", **settings)
    return Path(made)


def at_check(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> list[tuple[int, int]]:
    """Act at the given check whether to stop; return the list of (epoch, batches done) at all checks."""
    original, checks = EpochInFlight.save_or_stop, []

    def save_or_stop(self: EpochInFlight) -> None:
        checks.append((self.epoch, self.num_done))
        if len(checks) == number:
            act()
        original(self)

    monkeypatch.setattr(EpochInFlight, "save_or_stop", save_or_stop)
    return checks


def assert_equal_weights(recipe: Any, one: Path, other: Path) -> None:
    """Bit for bit."""
    first, second = recipe.load(one), recipe.load(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def unbroken(recipe: Any) -> Path:
    """A training of two epochs without a stop."""
    with pytest.MonkeyPatch.context() as patch:
        checks = at_check(patch, 0, lambda: None)
        made = train_with_chance(recipe, "unbroken")
    # or the tests below would stop elsewhere than they think
    assert [done for epoch, done in checks if epoch == 2][:CHECKS] == list(range(CHECKS))
    return made


@pytest.mark.parametrize(
    ("check", "number"), [(3, signal.SIGTERM), (6, signal.SIGUSR1), (11, signal.SIGTERM), (14, signal.SIGUSR1)]
)
def test_a_training_stopped_anywhere_by_a_signal_resumes_bit_for_bit(
    recipe: Any,
    unbroken: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    check: int,
    number: signal.Signals,
) -> None:
    folder = recipe.root / f"stopped_{check}_{number}"
    with monkeypatch.context() as patch:
        checks = at_check(patch, check, lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as stop:
            train_with_chance(recipe, folder.name)
    assert stop.value.code == 75
    assert len(checks) <= check + 1  # it continued to the end of an update, and not beyond
    assert (folder / "interrupted.pth").is_file()
    checks = at_check(monkeypatch, 0, lambda: None)
    caplog.clear()
    train_with_chance(recipe, folder.name)
    assert checks[0][1] > 0  # not from the start of the epoch
    assert "starts again" not in caplog.text  # nor does a later epoch find it, and complain
    assert_equal_weights(recipe, folder / "2epoch.pth", unbroken / "2epoch.pth")
    stats, expected = (
        torch.load(path / "checkpoint.pth", weights_only=False)["reporter"]["stats"] for path in (folder, unbroken)
    )
    for epoch in (1, 2):
        for phase in ("train", "valid"):
            assert stats[epoch][phase]["loss"] == expected[epoch][phase]["loss"]
            assert stats[epoch][phase]["total_count"] == expected[epoch][phase]["total_count"]
    assert not (folder / "interrupted.pth").exists()


def test_a_kill_loses_what_came_after_the_last_save_inside_the_epoch(
    recipe: Any, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        at_check(patch, 13, die)
        with pytest.raises(KeyboardInterrupt):
            train_with_chance(recipe, "killed", "--save_minutes", "1e-9")
    checks = at_check(monkeypatch, 0, lambda: None)
    train_with_chance(recipe, "killed")
    assert checks[0][1] > 0
    assert_equal_weights(recipe, recipe.root / "killed/2epoch.pth", unbroken / "2epoch.pth")


def test_a_stop_file_stops_like_a_signal(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHLLAMA_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr("speechllama.train.stop.POLL_SECONDS", 0.0)
    at_check(monkeypatch, 3, (tmp_path / "stop").touch)
    with pytest.raises(SystemExit) as stop:
        train_with_chance(recipe, "stop_file")
    assert stop.value.code == 75


def test_a_saved_state_of_other_batches_is_left_with_a_warning(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        at_check(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train_with_chance(recipe, "other_batches")
    train_with_chance(recipe, "other_batches", "--batch_bins", "90", "--max_epoch", "1")
    assert "interrupted.pth cannot be used: its batches differ; epoch 1 starts again" in caplog.text


def test_a_disk_that_is_full_costs_the_save_and_not_the_training(
    recipe: Any, unbroken: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = torch.save

    def save(content: object, path: Any) -> None:
        if str(path).endswith("interrupted.pth.tmp"):
            raise OSError(28, "No space left on device")
        original(content, path)

    monkeypatch.setattr(torch, "save", save)
    train_with_chance(recipe, "full_disk", "--save_minutes", "1e-9")
    assert "No space left on device" in caplog.text
    assert_equal_weights(recipe, recipe.root / "full_disk/2epoch.pth", unbroken / "2epoch.pth")


def test_a_stop_that_cannot_be_saved_tells_what_is_lost(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(self: EpochInFlight) -> None:
        original(self)
        monkeypatch.setattr(torch, "save", refuse)  # the first save succeeds; then the disk is full

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    original = EpochInFlight.save
    monkeypatch.setattr(EpochInFlight, "save", save)
    checks = at_check(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stop:
        train_with_chance(recipe, "stopped_full", "--save_minutes", "1e-9")
    assert stop.value.code == 75
    saved = torch.load(recipe.root / "stopped_full/interrupted.pth", weights_only=False)["num_done"]
    assert 0 < saved < checks[-1][1]
    lost = checks[-1][1] - saved
    assert f"epoch 1 is kept up to batch {saved}, and {lost} batches after it are lost" in caplog.text


def test_a_second_training_in_the_same_directory_is_refused(recipe: Any) -> None:
    message = r"whole: another training writes here \(host .*, process \d+, since .*--tag"
    with only_training(recipe.root / "whole"):
        with pytest.raises(ValueError, match=message):
            recipe.train_llm("whole", max_epoch=3)
