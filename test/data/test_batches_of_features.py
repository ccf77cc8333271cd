"""A front end with weights: utterances in batches of like length, as many as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from speechllama.data import features as features_module
from speechllama.data.ark import read_matrix
from speechllama.data.audio import read_audio
from speechllama.data.features import Extraction, make_features
from speechllama.data.skipped import read_skipped
from speechllama.files import read_table
from speechllama.frontend.front_ends import FRONT_ENDS, FbankSettings, FrontEnd, choose_front_end


class Doubling:
    """A front end with weights that counts how many waveforms it gets at once; too loud ones are refused."""

    dim, frame_shift, num_layers, weights = 1, 0.01, 1, "00"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def to(self, device: str) -> Doubling:
        return self

    def weight_bytes(self, device: str) -> int:
        return 0

    def many(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.batches.append([len(waveform) for waveform in waveforms])
        return [self(waveform) for waveform in waveforms]

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) == 9600:
            raise ValueError("of an odd length")
        return 2 * waveform[:: len(waveform) // 10, None]


class Forgetful(Doubling):
    """A front end whose memory holds 17,000 samples, padding included."""

    def many(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(waveforms) * max(map(len, waveforms)) > 17000:
            raise RuntimeError("CUDA error: out of memory")
        return super().many(waveforms)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) > 10000:
            raise torch.OutOfMemoryError("Tried to allocate 2 GiB")
        return super().__call__(waveform)


def test_a_batch_that_does_not_fit_into_memory_is_halved(
    add: Callable[..., FrontEnd], make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    forgetful = Forgetful()
    add(FRONT_ENDS, FrontEnd("forgetful", FbankSettings, lambda _: forgetful, has_weights=True))
    data = make_data_dir(num=4)  # of 8,000, 8,800, 9,600 and 10,400 samples
    extraction = Extraction(choose_front_end("forgetful", {}))
    make_features(data, tmp_path / "dump", extraction=extraction, max_bad_share=0.5)
    skipped = read_skipped(tmp_path / "dump/skipped.1")
    assert list(skipped) == ["fr_0-clip02", "fr_1-clip03"]
    assert skipped["fr_0-clip02"].detail.endswith("of an odd length")
    assert "clip03.wav: its 0.7 s do not fit into memory; set a shorter `window`" in skipped["fr_1-clip03"].detail
    assert len(read_table(tmp_path / "dump/feats.1.scp")) == 2


def test_a_front_end_with_weights_gets_utterances_of_like_length(
    add: Callable[..., FrontEnd],
    make_data_dir: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubling = Doubling()
    add(FRONT_ENDS, FrontEnd("doubling", FbankSettings, lambda _: doubling, has_weights=True))
    monkeypatch.setattr(features_module, "BATCH_SECONDS", 1.3)  # 20,800 samples
    data = make_data_dir(num=4)  # of 8,000, 8,800, 9,600 and 10,400 samples
    make_features(data, tmp_path / "dump", extraction=Extraction(choose_front_end("doubling", {})))
    assert doubling.batches == [[8000, 8800], [9600, 10400]]
    (lost,) = read_skipped(tmp_path / "dump/skipped.1").values()
    assert lost.detail.endswith("clips/fr_0-clip02.wav: of an odd length")
    places = read_table(tmp_path / "dump/feats.1.scp")
    assert list(places) == sorted(places) and len(places) == 3
    for utterance, place in places.items():
        waveform = read_audio(read_table(data / "wav.scp")[utterance])
        np.testing.assert_array_equal(read_matrix(place), doubling(waveform))
