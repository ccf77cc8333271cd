"""Small corpora in published forms, made by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

MakeClip = Callable[..., Path]


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Write a recording of noise."""

    def make(name: str, seconds: float = 1.0, channels: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).normal(0, 0.1, (int(16000 * seconds), channels))
        soundfile.write(path, noise, 16000)
        return path

    return make
