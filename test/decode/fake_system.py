"""A system without a network: its text is the length of each recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Speech2Text, Translation, Utterance
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

    def translate_heard(self, features: Features, utterances: Sequence[Utterance]) -> list[NBest]:
        return self.translate(features, utterances)

    def translate(self, audio: AudioInput, utterances: Sequence[Utterance]) -> list[NBest]:
        self.batches.append([round(each.seconds, 2) for each in utterances])
        if max(each.seconds for each in utterances) > self.too_long:
            raise self.error
        found = []
        for length, each in zip(audio.lengths.tolist(), utterances, strict=True):
            limit = self.config.limit(each.seconds)
            tokens = [length] * min(limit, round(10 * each.seconds))
            entry = Translation(f"{each.language}{each.target}{length} frames", tokens, -1.0, len(tokens) == limit)
            found.append([entry, entry._replace(text="second", score=-2.0)][: self.config.nbest])
        return found

    def check_language(self, language: str, target: str = "") -> None:
        """It knows any."""

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """It takes anything."""
