"""The paper's baseline B1: an encoder-decoder from scratch, with CTC next to the attention.

    features (B, T, F) -> subsampled (B, M, D) -> Transformer encoder (B, M, D) -> CTC logits (B, M, C)
                                                       |
    text (B, L) ----------------------------> Transformer decoder (B, L + 1, C + 1)

Encoder, decoder and CTC head are ESPnet's modules, made in `train` and passed in. Units 0..C-1 are those of the
tokenizer; 0 is CTC's blank, which the decoder never writes; unit C is the decoder's start and end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.constants import BLANK
from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape
from speechllama.model.front_end import TrainedFrontEnd
from speechllama.model.layers import length_mask
from speechllama.model.spec_augment import SpecAugmentConfig
from speechllama.model.subsampling import SpeechFront
from speechllama.text.padding import PADDING


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes and loss of B1; the defaults are the paper's 240 M with 16,000 units (arXiv 2307.03917, section 4).

    Attributes:
        conv_channels: Channels of the two convolutions.
        num_encoder_layers: Encoder layers.
        num_decoder_layers: Decoder layers.
        dim: Width D.
        num_heads: Attention heads; must divide `dim`.
        ffn_dim: Width of the feed-forward layers; the paper does not give it.
        positions: Positions in the encoder's attention: `absolute` (sinusoids added to the input) or `relative`
            (every head weighs distances, Dai et al. 2019), which learns from less speech; the paper does not say.
        dropout: Dropout rate, 0 to 1.
        ctc_weight: Share of CTC in the loss and, unless its config says otherwise, in the search, 0 to 1.
        label_smoothing: Share of probability spread over all units in the attention loss, 0 to 1.
        spec_augment: Masks drawn over the features in training.
    """

    conv_channels: int = 256
    num_encoder_layers: int = 12
    num_decoder_layers: int = 12
    dim: int = 768
    num_heads: int = 12
    ffn_dim: int = 3072
    positions: str = "absolute"
    dropout: float = 0.1
    ctc_weight: float = 0.3
    label_smoothing: float = 0.1
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.dim % 2:
            raise InputError(f"dim {self.dim} must be even and a multiple of num_heads {self.num_heads}")
        for name in ("ctc_weight", "label_smoothing", "dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} {getattr(self, name)} must lie between 0 and 1")
        if self.positions not in ("absolute", "relative"):
            raise InputError(f"positions '{self.positions}' must be absolute or relative")


class Parts(NamedTuple):
    """ESPnet's modules, made for a config: an encoder with positions and no input layer, TransformerDecoder, CTC."""

    encoder: nn.Module
    decoder: nn.Module
    ctc: nn.Module


class EncoderStates(NamedTuple):
    """The encoder's output for a batch.

    Attributes:
        states: Encoder states (B, M, D); what is padded means nothing.
        lengths: Valid frames (B,), int64.
        ctc_log_probs: Log-probabilities of the CTC units (B, M, C).
    """

    states: Tensor
    lengths: Tensor
    ctc_log_probs: Tensor


class Seq2SeqLoss(NamedTuple):
    """Losses in nats per utterance, and the share of units that the decoder predicts."""

    loss: Tensor
    attention: Tensor
    ctc: Tensor
    accuracy: Tensor


class Seq2Seq(SpeechFront):
    """The network.

    Args:
        config: Sizes.
        num_units: The tokenizer's units C, blank included.
        parts: ESPnet's modules of these sizes.
        features: Shape of the features.
        front_end: What makes them of waveforms, where it trains; else the network gets features.

    Source: arXiv 2307.03917, section 4 (layers and widths); subsampling as in the CTC encoder, since in
    ESPnet's own padding changes the last frames; loss as in Watanabe et al. 2017 (hybrid CTC/attention).
    """

    def __init__(
        self,
        config: Seq2SeqConfig,
        num_units: int,
        parts: Parts,
        features: FeatureShape | None = None,
        front_end: TrainedFrontEnd | None = None,
    ) -> None:
        super().__init__(features or FeatureShape(), config.conv_channels, config.dim, config.spec_augment)
        self.config = config
        self.eos = num_units
        self.encoder: Any = parts.encoder  # ESPnet's classes are not typed
        self.decoder: Any = parts.decoder
        self.ctc: Any = parts.ctc
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.front_end = front_end  # after the loop, which would undo its weights

    def forward(self, speech: Tensor, speech_lengths: Tensor, text: Tensor, text_lengths: Tensor) -> Seq2SeqLoss:
        """Loss of a batch.

        Args:
            speech: Features (B, T, F), any padding value.
            speech_lengths: Valid frames (B,), int64.
            text: Units 1..C-1 (B, L), int64, padding -1.
            text_lengths: Their number (B,), int64.

        Returns:
            The weighted loss and its parts.
        """
        encoded = self.encode(speech, speech_lengths)
        ctc = F.ctc_loss(
            encoded.ctc_log_probs.float().transpose(0, 1), text.clamp(min=0), encoded.lengths, text_lengths,
            blank=BLANK, reduction="sum", zero_infinity=True,
        ) / len(text)  # fmt: skip
        attention, accuracy = self.attend(encoded, text, text_lengths)
        weight = self.config.ctc_weight
        return Seq2SeqLoss(weight * ctc + (1.0 - weight) * attention, attention, ctc, accuracy)

    def attend(self, encoded: EncoderStates, text: Tensor, text_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the decoder given the encoder's states, and the share of units that it predicts; see `forward`."""
        valid = length_mask(text_lengths, text.shape[1])
        read = F.pad(text.masked_fill(~valid, self.eos), (1, 0), value=self.eos)  # (B, L + 1)
        logits, _ = self.decoder(encoded.states, encoded.lengths, read, text_lengths + 1)  # (B, L + 1, C + 1)
        labels = F.pad(text.masked_fill(~valid, PADDING), (0, 1), value=PADDING)
        labels = labels.scatter(1, text_lengths[:, None], self.eos)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=PADDING, reduction="sum",
            label_smoothing=smoothing,
        ) / len(text)  # fmt: skip
        hits = (logits.detach().argmax(-1) == labels).sum()
        return loss, hits / (labels != PADDING).sum()

    def encode(self, speech: Tensor, speech_lengths: Tensor) -> EncoderStates:
        """Encode features (B, T, F), or waveforms (B, S, 1), of lengths (B,)."""
        if self.front_end is not None:
            speech, speech_lengths = self.front_end(speech, speech_lengths)
        hidden, lengths = self.subsample(speech, speech_lengths)
        hidden = hidden[:, : int(lengths.max())]  # ESPnet masks by the longest utterance
        states, _, _ = self.encoder(hidden, lengths)
        return EncoderStates(states, lengths, self.ctc.log_softmax(states))
