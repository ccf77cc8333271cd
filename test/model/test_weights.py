"""Weights, statistics and settings of an experiment: what is damaged is refused with its file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from speechllama.model.build import read_cmvn, read_settings
from speechllama.model.weights import read_weights


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "damaged, or no weights of a model"),
        (lambda content: content[: len(content) // 2], "damaged, or no weights of a model"),
        (lambda content: b"<!DOCTYPE html>", "damaged, or no weights of a model"),
        (lambda content: content[:100] + content[50:], "damaged, or no weights of a model"),
    ],
)
def test_damaged_weights_are_refused_with_their_file(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    torch.save({"weight": torch.ones(100)}, tmp_path / "model.pth")
    (tmp_path / "model.pth").write_bytes(damage((tmp_path / "model.pth").read_bytes()))
    with pytest.raises(ValueError, match=f"model.pth: {message}"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"a": torch.ones(2), "b": torch.tensor([1.0, math.nan])},
            "1 of 2 tensors hold NaN or infinity, the first is b",
        ),
        ({"a": 1}, "expected weights by name, found dict"),
        ([torch.ones(2)], "expected weights by name, found list"),
    ],
)
def test_what_is_no_weights_is_refused(tmp_path: Path, state: object, message: str) -> None:
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=f"model.pth: {message}"):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_damaged_statistics_are_refused_with_their_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cmvn.npz").write_bytes(content)
    with pytest.raises(ValueError, match="cmvn.npz: expected numbers under mean, std"):
        read_cmvn(str(tmp_path / "cmvn.npz"))


def test_statistics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "cmvn.npz", mean=np.full(3, np.nan), std=np.ones(3))
    with pytest.raises(ValueError, match="cmvn.npz: mean, std hold NaN or infinity"):
        read_cmvn(str(tmp_path / "cmvn.npz"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "config.yaml: empty"),
        (b"- a\n", "config.yaml: expected settings"),
        (b"a: \xff\n", "config.yaml: not UTF-8"),
        (b"a: b: c\n", "config.yaml: not YAML"),
        (b"a: \0\n", "config.yaml: not YAML"),
        (b"a: 2024-99-99\n", "config.yaml: not YAML"),
    ],
)
def test_damaged_settings_of_an_experiment_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_settings(tmp_path)
