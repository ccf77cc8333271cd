"""Every system of the table from its folder: one recording, a batch, a long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.constants import SAMPLE_RATE
from speechllama.decode.long import LongConfig
from speechllama.decode.rescored2text import RescoredToText
from speechllama.decode.seq2seq2text import Seq2SeqToText
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from test.seq2seq_recipe import train_b1, tune_b2

KINDS = {"e6": SpeechLlamaToText, "b1": Seq2SeqToText, "b2_b1": RescoredToText, "b2_e5": RescoredToText}


@pytest.fixture(scope="session")
def systems(recipe: Any, seq2seq_sizes: dict[str, Any]) -> Path:
    """The folder with B1 and two rescoring systems, besides E5 and E6."""
    train_b1(recipe, seq2seq_sizes)
    for base in ("b1", "e5"):
        tune_b2(recipe, base, weights=[1000.0], length_norms=[0.0])
    return Path(recipe.root)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """A recording."""
    samples: np.ndarray = np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE)) * 0.1
    return samples.astype(np.float32)


@pytest.mark.parametrize("system", KINDS)
def test_every_system_translates_alone_in_a_batch_and_at_length(systems: Path, system: str) -> None:
    translate = Speech2Text.from_pretrained(systems / system)
    assert isinstance(translate, KINDS[system])
    recordings = [noise(1.0, 1), noise(0.7, 2), np.zeros(SAMPLE_RATE, np.float32)]
    together = translate.batch(recordings)
    assert [len(nbest) for nbest in together] == [1, 1, 0]
    for recording, nbest in zip(recordings, together, strict=True):
        alone = translate(recording)
        assert [entry.tokens for entry in alone] == [entry.tokens for entry in nbest]
    segments = list(translate.long(noise(5.3), LongConfig(max_seconds=2.0, segmentation="even")))
    assert segments[0].start == 0.0 and segments[-1].end == pytest.approx(5.3)
    assert [one.end for one in segments[:-1]] == [other.start for other in segments[1:]]
