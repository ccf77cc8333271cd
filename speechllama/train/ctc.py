"""CTC training on ESPnet: the encoder learns to write what was said.

{speech (B, T, F), text (B, L)} -> loss, stats, weight
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.model.build import read_cmvn
from speechllama.model.ctc_encoder import ctc_loss
from speechllama.model.encoders import choose_encoder
from speechllama.model.front_end import build_encoder
from speechllama.text.tokenizer import CTCTokenizer
from speechllama.train.espnet import AbsESPnetModel, SpeechTask, force_gatherable
from speechllama.train.feature_record import record_features
from speechllama.train.options import Kind


class CTCModel(AbsESPnetModel):
    """An encoder with the `forward` of ESPnet; its checkpoints are the encoder's own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def state_dict(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Return the encoder's state: who loads it knows nothing of ESPnet."""
        state: dict[str, Any] = self.encoder.state_dict(*arguments, **more)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the encoder's state."""
        return self.encoder.load_state_dict(state_dict, strict, assign)

    def forward(
        self, speech: Tensor, speech_lengths: Tensor, text: Tensor, text_lengths: Tensor, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of one batch.

        Args:
            speech: Features (B, T, F).
            speech_lengths: Valid frames (B,).
            text: CTC units (B, L), padding -1.
            text_lengths: Their number (B,).

        Returns:
            Loss, stats and weight (the number of utterances) for ESPnet.
        """
        encoded = self.encoder(speech, speech_lengths)
        loss = ctc_loss(encoded, text, text_lengths)
        stats = {"loss": loss.detach(), "loss_per_unit": loss.detach() * len(text) / text_lengths.sum()}
        gathered: tuple[Tensor, dict[str, Tensor], Tensor] = force_gatherable((loss, stats, len(text)), loss.device)
        return gathered

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_: Any) -> dict[str, Tensor]:
        """Features as they are, for ESPnet's statistics."""
        return {"feats": speech, "feats_lengths": speech_lengths}


class CTCPreprocessor:
    """Text to CTC units."""

    def __init__(self, tokenizer: CTCTokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, uid: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """Turn one utterance's data into arrays.

        Raises:
            ValueError: The text gives no units.
        """
        units = self.tokenizer.encode(data["text"])
        if not units:
            raise InputError(
                f"utterance {uid}: the text {data['text']!r} has no CTC units; stage `statistics` leaves such out"
            )
        return {"speech": np.asarray(data["speech"], np.float32), "text": np.asarray(units, np.int64)}


class CTCTask(SpeechTask):
    """ESPnet task of the CTC encoder."""

    kind: Kind = "ctc"
    defaults: Mapping[str, Any] = {"required": ["output_dir", "tokenizer", "cmvn_file"]}

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable[..., dict[str, np.ndarray]] | None:
        """Text to units."""
        return CTCPreprocessor(CTCTokenizer(args.tokenizer))

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What a training set must hold."""
        return ("speech", "text")

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Nothing more."""
        return ()

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> CTCModel:
        """Make the encoder; its sizes and unit count go into config.yaml."""
        choice = choose_encoder(vars(args), str(args.config))
        args.encoder_conf = choice.conf()
        args.num_units = CTCTokenizer(args.tokenizer).num_units
        encoder = build_encoder(choice, args.num_units, record_features(args))
        encoder.set_normalization(*read_cmvn(args.cmvn_file))
        model = CTCModel(encoder)
        cls.check_options(args, model)
        count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        logging.info("CTC encoder: %s parameters train, %d units", f"{count:,}", args.num_units)
        return model
