"""Seq2SeqToText: features to text with the encoder-decoder B1, as Speech2Text does with the LLM systems.

log-mel (T, F) of some utterances -> encoder-decoder -> n-best text
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from speechllama.decode.joint_search import JointSearchConfig, joint_search
from speechllama.decode.speech2text import Translation
from speechllama.faults import InputError
from speechllama.model.audio import AudioInput, Features
from speechllama.model.seq2seq import Seq2Seq
from speechllama.text.tokenizer import CTCTokenizer


class Seq2SeqToText:
    """Translates features, or transcribes them, as the network was trained.

    Args:
        network: A trained encoder-decoder, in evaluation mode, on its device.
        tokenizer: Its units.
        folder: Where its model.pth is.
        config: Settings of the search.
    """

    def __init__(
        self, network: Seq2Seq, tokenizer: CTCTokenizer, folder: str | Path, config: JointSearchConfig | None = None
    ) -> None:
        self.network, self.tokenizer, self.folder = network, tokenizer, Path(folder)
        self.config = config or JointSearchConfig()
        self.device = network.mean.device

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse the cache of a CTC encoder, which this network does not have.

        Raises:
            ValueError: The data directory holds compressed features.
        """
        if kind is not Features:
            raise InputError(f"{data_dir}: compressed.scp there; the encoder-decoder takes feats.scp (stage features)")

    def translate(
        self,
        audio: AudioInput,
        seconds: Sequence[float],
        languages: Sequence[str] = (),
        templates: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """Translate a batch.

        Args:
            audio: Features; see `check_data`.
            seconds: Duration of each recording, which limits the length of its text.
            languages: Not used; there is no prompt.
            templates: Not used.
            targets: Not used; it writes what it was trained to write.

        Returns:
            N-best hypotheses of each utterance, best first; scores are joint scores with length penalty, in nats.
        """
        assert isinstance(audio, Features)
        with torch.inference_mode():
            found = joint_search(
                self.network,
                *audio.to(self.device),
                torch.tensor([self.config.limit(duration) for duration in seconds], device=self.device),
                self.config,
            )
        return [
            [Translation(" ".join(self.tokenizer.decode(tokens).split()), tokens, score) for tokens, score in nbest]
            for nbest in found
        ]
