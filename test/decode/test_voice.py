"""silero-vad: its message when it is missing, and what it must leave as it is."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from speechllama.decode.voice import FRAME, energy, has_silero, silero_detector


def test_without_silero_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[vad\]'; or cut .* \(--segmentation even\)"):
        silero_detector()


def test_silero_hears_no_speech_in_noise_and_takes_no_threads() -> None:
    if not has_silero():
        pytest.skip("needs silero-vad")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        detect = silero_detector()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    noise = np.random.default_rng(0).normal(size=(20, FRAME)) * 0.05
    assert max(detect(frame.astype(np.float32)) for frame in noise) < 0.5


def test_energy_is_the_root_of_the_mean_square() -> None:
    assert energy(np.full(FRAME, -0.5, np.float32)) == pytest.approx(0.5)
