"""A small data directory with its recordings, made by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.data.data_dir import DataDir, write_data_dir


@pytest.fixture()
def make_data_dir(tmp_path: Path) -> Callable[..., Path]:
    """Make a data directory of noise: `num` utterances of two speakers."""

    def make(name: str = "data", num: int = 6) -> Path:
        path = tmp_path / name
        random = np.random.default_rng(1)
        tables: dict[str, dict[str, str]] = {
            table: {} for table in ("wav.scp", "text", "src_text", "utt2spk", "utt2lang", "utt2dur")
        }
        (tmp_path / "clips").mkdir(exist_ok=True)
        for index in range(num):
            speaker = f"fr_{index % 2}"
            utterance = f"{speaker}-clip{index:02d}"
            clip = tmp_path / "clips" / f"{utterance}.wav"
            samples = 8000 + 800 * index
            soundfile.write(clip, random.normal(0, 0.1, samples).astype(np.float32), 16000)
            values = (str(clip), "Hello there.", "Bonjour là.", speaker, "fr", f"{samples / 16000:.3f}")
            for table, value in zip(tables, values, strict=True):
                tables[table][utterance] = value
        write_data_dir(DataDir(path, tables), path)
        return path

    return make
