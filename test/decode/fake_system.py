"""A system without a network: it says how long each recording is, in what it would be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from speechllama.decode.beam import SearchConfig
from speechllama.decode.speech2text import NBest, Speech2Text, Translation
from speechllama.model.audio import AudioInput, Features


class FakeToText(Speech2Text):
    """Writes the number of frames of each recording; a recording of more than `too_long` seconds breaks it.

    Args:
        config: Settings of the search; a text longer than its limit is cut.
        too_long: Seconds from which on there is an error.
        error: Which.
    """

    def __init__(
        self, config: SearchConfig | None = None, too_long: float = 1e9, error: Exception | None = None
    ) -> None:
        super().__init__(torch.nn.Linear(1, 1), Path("fake"), {}, config or SearchConfig())
        self.too_long, self.error = too_long, error or RuntimeError("a kernel refused")
        self.batches: list[list[float]] = []

    def translate_heard(
        self,
        features: Features,
        seconds: Sequence[float],
        languages: Sequence[str],
        targets: Sequence[str] | None = None,
    ) -> list[NBest]:
        return self.translate(features, seconds, languages, targets=targets)

    def translate(
        self,
        audio: AudioInput,
        seconds: Sequence[float],
        languages: Sequence[str],
        templates: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> list[NBest]:
        self.batches.append([round(each, 2) for each in seconds])
        if max(seconds) > self.too_long:
            raise self.error
        found = []
        named = zip(languages, targets or [""] * len(seconds), strict=True)
        for length, duration, (language, target) in zip(audio.lengths.tolist(), seconds, named, strict=True):
            limit = self.config.limit(duration)
            tokens = [length] * min(limit, round(10 * duration))
            entry = Translation(f"{language}{target}{length} frames", tokens, -1.0, len(tokens) == limit)
            found.append([entry, entry._replace(text="second", score=-2.0)][: self.config.nbest])
        return found

    def check_language(self, language: str, target: str = "") -> None:
        """It knows any."""

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """It takes anything."""
