"""What two runs wrote: any difference of content is found, one of time is not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tools.stress.compare import compare_decoded, compare_files, compare_tensors, compare_training


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"a": torch.ones(3), "b": [1, 2.0]}, []),
        ({"a": torch.tensor([1.0, 1.0, 1.0000001]), "b": [1, 2.0]}, ["x.a"]),
        ({"a": torch.ones(3), "b": [1, 3.0]}, ["x.b[1]: 3.0, expected 2.0"]),
        ({"a": torch.ones(3)}, ["x: other keys"]),
    ],
)
def test_a_difference_of_the_last_bit_is_found(found: object, where: list[str]) -> None:
    assert compare_tensors(found, {"a": torch.ones(3), "b": [1, 2.0]}, "x") == where


def test_a_missing_epoch_is_a_difference(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.save({"weight": torch.ones(2)}, tmp_path / name / "1epoch.pth")
    assert compare_training(tmp_path / "one", tmp_path / "other") == []
    torch.save({"weight": torch.ones(2)}, tmp_path / "other" / "2epoch.pth")
    assert compare_training(tmp_path / "one", tmp_path / "other") == ["2epoch.pth is missing"]


def test_another_text_is_a_difference_and_another_time_is_not(tmp_path: Path) -> None:
    for name, text, spent in (("one", "A dog.", 0.1), ("other", "A dog.", 0.2), ("third", "A cat.", 0.1)):
        folder = tmp_path / name / "decode_test_beam2"
        folder.mkdir(parents=True)
        record = {"utt": "u", "nbest": [{"text": text, "tokens": [1], "score": -1.0}], "spent": spent}
        (folder / "nbest.jsonl").write_text('{"stamp": {}}\n' + json.dumps(record) + "\n")
        (folder / "text").write_text(f"u {text}\n")
    assert compare_decoded(tmp_path / "one", tmp_path / "other") == []
    found = compare_decoded(tmp_path / "one", tmp_path / "third")
    assert found == ["decode_test_beam2: u", "decode_test_beam2/text"]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def write_hypotheses(path: Path, score: float, spent: float = 0.0) -> None:
    record = {"utt": "u", "nbest": [{"text": "A dog.", "score": score}], "spent": spent}
    path.write_text("\n".join(json.dumps(line) for line in ({"stamp": {"model": spent}}, record)))


def write_zip(path: Path, weight: float, year: int = 2020) -> None:
    arrays = io.BytesIO()
    np.savez(arrays, mean=np.full(2, weight))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("cmvn.npz", (year, 1, 1, 0, 0, 0)), arrays.getvalue())


def write_checkpoint(path: Path, step: float, spent: float = 0.0) -> None:
    state = {"model": {}, "optimizers": [{"step": torch.tensor(step)}], "schedulers": [None]}
    torch.save({**state, "reporter": {"time": spent}}, path)


# File -> how it is written, and arguments of it that make one, the same at another time, and another one.
KINDS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = {
    "1epoch.pth": (lambda path, value: torch.save({"a": torch.tensor(value)}, path), (1.0,), (1.0,), (1.0000001,)),
    "checkpoint.pth": (write_checkpoint, (1.0, 5.0), (1.0, 6.0), (2.0, 5.0)),
    "model.safetensors": (lambda path, value: save_file({"a": torch.tensor([value])}, path), (1.0,), (1.0,), (2.0,)),
    "cmvn.npz": (lambda path, value: np.savez(path, mean=np.full(3, value)), (1.0,), (1.0,), (1.5,)),
    "feats.1.ark": (Path.write_bytes, (b"ab",), (b"ab",), (b"ac",)),
    "text": (Path.write_text, ("u A dog.",), ("u A dog.",), ("u A cat.",)),
    "nbest.jsonl": (write_hypotheses, (-1.0, 0.1), (-1.0, 0.2), (-1.1, 0.1)),
    "score.json": (
        write_json,
        ({"bleu": 3.0, "rtf": 1.0},),
        ({"bleu": 3.0, "rtf": 2.0},),
        ({"bleu": 4.0, "rtf": 1.0},),
    ),
    "packed.zip": (write_zip, (1.0, 2020), (1.0, 2021), (1.5, 2020)),
}


@pytest.mark.parametrize("name", KINDS)
def test_another_content_is_a_difference_and_another_time_is_not(tmp_path: Path, name: str) -> None:
    write, *made = KINDS[name]
    paths = [tmp_path / part / name for part in ("one", "later", "other")]
    for path, arguments in zip(paths, made, strict=True):
        path.parent.mkdir()
        write(path, *arguments)
    one, later, other = paths
    assert compare_files(one, later) == []
    (line,) = compare_files(one, other)
    assert line.startswith(name)
