"""A training that does not train says so, and fails; one that resumes does so with its own settings."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import torch
import yaml

from speechllama.bin import average_checkpoints
from speechllama.data.ark import read_matrix
from speechllama.files import read_table, write_table
from speechllama.train.outcome import check_finite, check_gradients, check_loss, check_update_size
from speechllama.train.same_settings import check_same_settings

NAN, INFINITY = float("nan"), float("inf")


def test_an_epoch_must_hold_an_update() -> None:
    check_update_size(4, 4, "exp/st_e5")
    with pytest.raises(ValueError, match=r"exp/st_e5: an epoch has 3 batches and an update needs 4 \(accum_grad\)"):
        check_update_size(3, 4, "exp/st_e5")


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_data_that_are_no_numbers_are_named_with_their_utterance(value: float) -> None:
    speech = torch.zeros(3, 5, 2)
    batch = {"speech": speech, "speech_lengths": torch.tensor([5, 5, 4]), "text": torch.full((3, 2), -1)}
    check_finite(["a", "b", "c"], batch)
    speech[1, 2, 0] = speech[2, 4, 1] = value
    with pytest.raises(ValueError, match="utterance b, c: `speech` holds NaN or infinity; leave the utterance out"):
        check_finite(["a", "b", "c"], batch)


def test_a_loss_and_gradients_that_are_no_numbers_end_a_training() -> None:
    values = [types.SimpleNamespace(value=value) for value in (1.0, 2.0)]
    check_loss(values, 3, "exp")
    check_gradients(False, 3, "exp")
    with pytest.raises(
        ValueError, match="exp: diverged at epoch 3: the validation loss of 1 of 3 batches is nan; lower"
    ):
        check_loss([*values, types.SimpleNamespace(value=NAN)], 3, "exp")
    with pytest.raises(ValueError, match="exp: diverged at epoch 7: no gradient was finite.*lower the learning rate"):
        check_gradients(True, 7, "exp")


def test_a_training_without_an_update_fails(recipe: Any) -> None:
    message = r"few: an epoch has \d batches and an update needs 100 \(accum_grad\): nothing would be trained"
    with pytest.raises(ValueError, match=message):
        recipe.train_llm("few", "--accum_grad", "100")
    assert not (recipe.root / "few/checkpoint.pth").exists()


def test_a_training_that_diverges_fails_and_says_when(recipe: Any) -> None:
    recipe.train_llm("wild", max_epoch=1)
    kept = recipe.load(recipe.root / "wild/1epoch.pth")
    with pytest.raises(ValueError, match=r"wilder: diverged at epoch 1: the validation loss of .* is (nan|inf); lower"):
        recipe.train_llm("wilder", optim="sgd", optim_conf={"lr": 1.0e30}, max_epoch=4)
    assert all(torch.isfinite(tensor.float()).all() for tensor in kept.values())


@contextmanager
def one_nan(recipe: Any, part: str) -> Iterator[str]:
    """One NaN in one cached utterance, as older versions wrote it -> its name."""
    table = recipe.root / part / "compressed/compressed.scp"
    places = read_table(table)
    utterance, place = next(iter(places.items()))
    array = read_matrix(place).copy()
    array[-1, 3] = np.nan
    ark = recipe.root / part / "nan.ark"
    kaldiio.save_ark(str(ark), {utterance: array}, scp=str(ark.with_suffix(".scp")))
    write_table(table, {**places, **read_table(ark.with_suffix(".scp"))})
    try:
        yield utterance
    finally:
        write_table(table, places)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_one_nan_in_the_cache_is_named(recipe: Any, part: str) -> None:
    with one_nan(recipe, part) as utterance:
        with pytest.raises(ValueError, match=f"utterance {utterance}: `compressed` holds NaN or infinity"):
            recipe.train_llm(f"nan_in_{part}")


def test_an_average_of_epochs_that_all_diverged_says_so(recipe: Any, tmp_path: Path) -> None:
    state = torch.load(recipe.root / "e5/checkpoint.pth", weights_only=False)
    for phases in state["reporter"]["stats"].values():
        phases["valid"]["loss"] = NAN
    torch.save(state, tmp_path / "checkpoint.pth")
    for epoch in (1, 2):
        torch.save({}, tmp_path / f"{epoch}epoch.pth")
    with pytest.raises(
        ValueError, match=r"valid.loss is not finite in any epoch that is left \(\[1, 2\]\): the training"
    ):
        average_checkpoints.main(["--exp_dir", str(tmp_path)])


def test_a_training_is_resumed_only_with_its_own_settings(recipe: Any) -> None:
    made = recipe.train_llm("resumed", max_epoch=1)
    recorded = (made / "config.yaml").read_text()
    message = r"resumed: a training with other settings began here.*--resume false, .*\n  {}"
    with pytest.raises(ValueError, match=message.format("optim_conf: lr: 0.01, now 0.02")):
        recipe.train_llm("resumed", optim_conf={"lr": 0.02})
    with pytest.raises(ValueError, match=message.format("optim: 'adamw', now 'sgd'")):
        recipe.train_llm("resumed", optim="sgd")
    with pytest.raises(ValueError, match=message.format("prefix_mask: 'non_causal', now 'causal'")):
        recipe.train_llm("resumed", prefix_mask="causal")
    assert (made / "config.yaml").read_text() == recorded
    assert not (made / "2epoch.pth").exists()
    further = {"max_epoch": 2, "keep_nbest_models": 3}  # these may change
    recipe.train_llm("resumed", "--num_workers", "1", "--log_interval", "3", **further)
    assert (made / "2epoch.pth").exists()
    recipe.train_llm("resumed", "--resume", "false", optim_conf={"lr": 0.02}, max_epoch=1)  # that starts anew
    assert yaml.safe_load((made / "config.yaml").read_text())["optim_conf"]["lr"] == 0.02


def test_ctc_is_resumed_only_with_its_own_settings(recipe: Any) -> None:
    recipe.train_ctc("ctc_resumed", max_epoch=1)
    with pytest.raises(ValueError, match="ctc_resumed: a training with other settings.*\n  accum_grad: 1, now 2"):
        recipe.train_ctc("ctc_resumed", accum_grad=2)


def test_an_older_training_keeps_its_start_token(recipe: Any) -> None:
    made = recipe.train_llm("older", max_epoch=1)
    settings = yaml.safe_load((made / "config.yaml").read_text())
    assert settings["prompt_conf"].pop("start_token") == "tokenizer"
    (made / "config.yaml").write_text(yaml.safe_dump(settings))
    recipe.train_llm("older", max_epoch=2)
    assert yaml.safe_load((made / "config.yaml").read_text())["prompt_conf"]["start_token"] == "bos"


def test_settings_that_only_one_side_knows_are_no_difference(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pth").touch()
    (tmp_path / "config.yaml").write_text("optim: adam\nold_option: 3\nwarm: [1, 2]\n")
    same = {"output_dir": str(tmp_path), "resume": True, "optim": "adam", "new_option": 5, "warm": (1, 2)}
    check_same_settings(argparse.Namespace(**same))
    check_same_settings(argparse.Namespace(**{**same, "resume": False, "optim": "sgd"}))
    with pytest.raises(ValueError, match="optim: 'adam', now 'sgd'"):
        check_same_settings(argparse.Namespace(**{**same, "optim": "sgd"}))
    (tmp_path / "checkpoint.pth").unlink()
    check_same_settings(argparse.Namespace(**{**same, "optim": "sgd"}))  # nothing was trained yet
