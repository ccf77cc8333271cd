"""Seq2SeqToText: what Speech2Text is for the LLM systems, for the encoder-decoder B1.

log-mel (T, F) of some utterances -> encoder-decoder -> n-best text
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from speechllama.decode.joint_search import JointSearchConfig, joint_search
from speechllama.decode.speech2text import Translation
from speechllama.model.seq2seq import Seq2Seq
from speechllama.text.tokenizer import CTCTokenizer


class Seq2SeqToText:
    """Translates (or recognises, as trained) features.

    Args:
        network: A trained encoder-decoder, in evaluation mode, on its device.
        tokenizer: Its units.
        folder: Where its model.pth is.
        config: How to search.
    """

    def __init__(
        self, network: Seq2Seq, tokenizer: CTCTokenizer, folder: str | Path, config: JointSearchConfig | None = None
    ) -> None:
        self.network, self.tokenizer, self.folder = network, tokenizer, Path(folder)
        self.config = config or JointSearchConfig()
        self.device = network.mean.device

    def check_data(self, data_dir: Path, is_compressed: bool) -> None:
        """Refuse the cache of a CTC encoder, which this network has not.

        Raises:
            ValueError: The data directory holds compressed features.
        """
        if is_compressed:
            raise ValueError(f"{data_dir}: compressed.scp there; the encoder-decoder takes feats.scp")

    def translate(
        self,
        audio: Sequence[np.ndarray],
        seconds: Sequence[float],
        languages: Sequence[str] = (),
        is_compressed: bool = False,
        templates: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """Translate a batch.

        Args:
            audio: Log-mel features (T, F) of each utterance.
            seconds: Duration of each recording; it limits the length of the text.
            languages: Not used; there is no prompt.
            is_compressed: Must be false.
            templates: Not used.

        Returns:
            N-best hypotheses of each utterance, best first; scores are joint scores with length penalty, in nats.
        """
        frames = [torch.from_numpy(np.array(matrix, dtype=np.float32)) for matrix in audio]
        with torch.inference_mode():
            found = joint_search(
                self.network,
                torch.nn.utils.rnn.pad_sequence(frames, batch_first=True).to(self.device),
                torch.tensor([len(matrix) for matrix in frames], device=self.device),
                torch.tensor([self.config.limit(duration) for duration in seconds], device=self.device),
                self.config,
            )
        return [
            [Translation(" ".join(self.tokenizer.decode(tokens).split()), tokens, score) for tokens, score in nbest]
            for nbest in found
        ]
