"""Killed stages: a real kill of each, and what it left half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tools import stress_resume
from tools.stress_resume import find_half_written

STAGES = ("lora", "ctc", "decode", "train")


@pytest.mark.recipe
def test_killed_stages_end_as_unbroken_ones(stress_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--work_dir", str(stress_dir), "--stages", *STAGES, "--kills", "4", "--seed", "2"]
    status = stress_resume.main(words)
    printed, errors = capfd.readouterr()
    assert status == 0, errors
    assert all(f"| {stage} | 1 |" in printed for stage in STAGES)
    assert stress_resume.main(words) == 0  # from the report


def test_what_a_kill_left_half_written_is_found(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "whole.pth")
    (tmp_path / "truncated.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:100])
    (tmp_path / "interrupted.pth.tmp").touch()
    (tmp_path / "nbest.1.jsonl").write_text('{"stamp": {}}\n{"utt"')
    assert find_half_written(tmp_path) == ["interrupted.pth.tmp", "nbest.1.jsonl", "truncated.pth"]
