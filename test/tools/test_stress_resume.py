"""Killed stages: one real kill, and what the tool counts as a difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tools import stress_resume
from tools.stress_resume import compare_decoded, compare_tensors, compare_training, find_half_written


@pytest.mark.recipe
def test_a_killed_training_ends_with_the_parameters_of_an_unbroken_one(
    stress_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--work_dir", str(stress_dir), "--stages", "lora", "--kills", "1", "--seed", "2"]
    status = stress_resume.main(words)
    printed, errors = capfd.readouterr()
    assert status == 0, errors
    assert "| lora | 1 |" in printed
    assert stress_resume.main(words) == 0  # from the report


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


def test_what_a_kill_left_half_written_is_found(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "whole.pth")
    (tmp_path / "truncated.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:100])
    (tmp_path / "interrupted.pth.tmp").touch()
    (tmp_path / "nbest.1.jsonl").write_text('{"stamp": {}}\n{"utt"')
    assert find_half_written(tmp_path) == ["interrupted.pth.tmp", "nbest.1.jsonl", "truncated.pth"]
