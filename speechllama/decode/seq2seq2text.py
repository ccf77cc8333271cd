"""Seq2SeqToText: recordings to text with the encoder-decoder B1.

features (T, F) of some utterances -> encoder-decoder -> n-best text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from speechllama.constants import BLANK
from speechllama.decode.joint_search import JointSearchConfig, search_states
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Speech2Text, Translation, Utterance, keep_heard
from speechllama.faults import InputError
from speechllama.model.audio import AudioInput, Features
from speechllama.model.ctc_encoder import best_units
from speechllama.model.layers import length_mask
from speechllama.model.seq2seq import EncoderStates, Seq2Seq
from speechllama.text.tokenizer import CTCTokenizer


class Seq2SeqToText(Speech2Text):
    """Translates speech, or transcribes it, with an encoder-decoder.

    Args:
        parts: A trained encoder-decoder, in evaluation mode, on its device, and its tokenizer.
        folder: Where its model.pth is.
        settings: The content of its config.yaml.
        config: Settings of the search.
    """

    def __init__(
        self,
        parts: tuple[Seq2Seq, CTCTokenizer],
        folder: str | Path,
        settings: Mapping[str, Any],
        config: SearchConfig | None = None,
    ) -> None:
        network, self.tokenizer = parts
        if not isinstance(config, JointSearchConfig):
            config = JointSearchConfig(**asdict(config or SearchConfig()))
        super().__init__(network, Path(folder), settings, config)

    def check_search(self, config: SearchConfig) -> None:
        """Refuse BLEU as utility.

        Raises:
            ValueError: Its tokenizer depends on the language that is written, and the encoder-decoder does not know it.
        """
        if config.mbr == "bleu":
            raise InputError(
                f"{self.folder}: an encoder-decoder does not know in which language it writes, so BLEU has no "
                "tokenizer; take mbr chrf"
            )

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse the cache of a CTC encoder, which this network does not have.

        Raises:
            ValueError: The data directory holds compressed features.
        """
        if kind is not Features:
            raise InputError(f"{data_dir}: compressed.scp there; the encoder-decoder takes feats.scp (stage features)")

    def check_language(self, language: str, target: str = "") -> None:
        """Refuse to choose what is written: without a prompt there is no choice; any source language will do.

        Raises:
            ValueError: A language to write is named.
        """
        if target:
            raise InputError(
                f"{self.folder}: an encoder-decoder has no prompt and writes what it was trained to write; leave the "
                f"language to write, {target!r}, out"
            )

    def translate_heard(self, features: Features, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`."""
        memory = self.network.encode(*features.to(self.device))
        spoken = (best_units(memory.ctc_log_probs) != BLANK) & length_mask(memory.lengths, memory.states.shape[1])
        heard: list[bool] = spoken.any(1).tolist()
        return keep_heard(self._search(memory, utterances), heard) if any(heard) else [[] for _ in heard]

    def translate(self, audio: AudioInput, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`; there is no prompt. Scores are joint scores with length penalty, in nats."""
        assert isinstance(audio, Features)
        with torch.inference_mode():
            return self._search(self.network.encode(*audio.to(self.device)), utterances)

    def _search(self, memory: EncoderStates, utterances: Sequence[Utterance]) -> list[NBest]:
        """N-best hypotheses of utterances that the encoder has read."""
        assert isinstance(self.config, JointSearchConfig)
        limits = torch.tensor([self.config.limit(each.seconds) for each in utterances], device=self.device)
        names = [each.name for each in utterances]
        found = [
            [Translation(" ".join(self.tokenizer.decode(entry.tokens).split()), *entry) for entry in nbest]
            for nbest in search_states(self.network, memory, limits, self.config, names)
        ]
        return self.choose(found, utterances)
