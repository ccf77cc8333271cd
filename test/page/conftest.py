"""A tiny system with a page, a real browser, and recordings of noise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.decode.speech2text import Speech2Text

CHROMIUM = "needs a Chromium: apt-get install chromium (Debian), and pip install -e '.[test]' for Playwright"


def write_noise(path: Path, seconds: float = 1.0, seed: int = 0) -> Path:
    """A recording of noise."""
    soundfile.write(path, np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE)) * 0.1, SAMPLE_RATE)
    return path


@pytest.fixture(scope="session")
def translator(recipe: Any) -> Speech2Text:
    """E6 whose CTC head hears something in noise: blank is less likely than it was trained to be."""
    made = Speech2Text.from_pretrained(recipe.root / "e6")
    with torch.no_grad():
        made.network.encoder.head.bias[0] -= 100.0
    return made


@pytest.fixture
def noise(tmp_path: Path) -> Callable[..., Path]:
    """Make recordings by name."""
    return lambda name, *more: write_noise(tmp_path / name, *more)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, whose microphone hears a beep."""
    playwright = pytest.importorskip("playwright.sync_api", reason=CHROMIUM)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(CHROMIUM)
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=program, args=["--no-sandbox", *microphone])
        yield launched
        launched.close()
