"""Disks without room: one stage on each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import stress_disk


def test_a_stage_says_which_disk_has_no_room_and_resumes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = stress_disk.main(["--work_dir", str(tmp_path), "--stages", "features"])
    printed, errors = capfd.readouterr()
    if "SKIPPED: no tmpfs can be mounted here" in errors:
        assert status == 0
        pytest.skip("no tmpfs can be mounted here")
    assert status == 0, errors
    assert "| features |" in printed and printed.count("said, then equal") == len(stress_disk.ROOMS)


def test_a_user_who_may_not_mount_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: str) -> None:
        raise stress_disk.NoMountError("mount: only root can do that")

    monkeypatch.setattr(stress_disk, "mount", refuse)
    assert stress_disk.main(["--work_dir", str(tmp_path)]) == 0
    assert "SKIPPED: no tmpfs can be mounted here (mount: only root can do that)" in capfd.readouterr().err
