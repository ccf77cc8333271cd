"""The benchmark of long recordings, on some seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tools import benchmark_long


def test_the_table_has_a_row_for_each_length_and_segmentation(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.random.default_rng(0).normal(size=24000) * 0.1, 16000)
    words = ["--model", str(recipe.root / "e6"), "--clips", str(clip), "--minutes", "0.4"]
    benchmark_long.main([*words, "--segmentation", "even", "--options", "--beam_size 1 --max_seconds 5"])
    header, _, row = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert header.startswith("| recording | segmentation | segments |") and len(cells) == 7
    assert cells[:2] == ["0.4 min", "even"] and 5 <= int(cells[2]) <= 7
    assert float(cells[5]) > 0 and cells[6].endswith(" MiB")


def test_joined_clips_come_in_turn_with_pauses(tmp_path: Path) -> None:
    clips = [np.full(16000, value, np.float32) for value in (0.25, 0.5)]
    benchmark_long.join_clips(clips, 5.0, tmp_path / "x.flac")
    samples, rate = soundfile.read(tmp_path / "x.flac")
    assert rate == 16000 and len(samples) / rate == pytest.approx(1.3 + 1.8 + 2.5)
    assert [samples[round(at * rate)] for at in (0.5, 1.1, 1.8, 2.7, 3.6)] == pytest.approx([0.25, 0, 0.5, 0, 0.25])


def test_without_clips_sentences_are_spoken() -> None:
    spoken = benchmark_long.read_clips([])
    assert len(spoken) == 12 and all(1.0 < len(waveform) / 16000 < 8.0 for waveform in spoken)
