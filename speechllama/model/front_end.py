"""A front end that trains: a speech encoder inside the network, with adapters or with all of its weights.

waveforms (B, S, 1) -> its states (B, T, F) -> each normalised by itself (B, T, F) -> the encoder, as of features
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.frontend.feature_format import FeatureFormat
from speechllama.frontend.front_ends import choose_front_end
from speechllama.frontend.trainable import TrainableExtractor
from speechllama.llm.adapters import AdapterStarts, adapted_layers, add_lora
from speechllama.lora import ALL_LINEAR, LoRAConfig
from speechllama.model.audio import Encoded
from speechllama.model.checkpoint import keep_only_trainable
from speechllama.model.encoders import Encoder
from speechllama.registry import Choice

PROBE_SECONDS = 0.4  # of silence, whose states say which weights they depend on


class TrainedFrontEnd(nn.Module):
    """States of a speech encoder, with gradients.

    They are the states that the frozen front end gives, by the same code (windows, layers, what makes the encoder's
    input), each then normalised over its own width, layer by layer. A frozen front end's states are normalised by
    their mean and standard deviation over the training data instead; these would no longer hold after some updates.

    What is frozen stays in evaluation mode, and so do dropout, masks and skipped layers of the encoder's own even if
    all weights train: SpecAugment over the states and the dropout of what follows take their place.

    A checkpoint holds what trains, and the fingerprint of the weights that the encoder was loaded with.

    Args:
        extractor: The front end, whose weights become a part of this module.
        train: `lora` or `full`.
        lora: Its adapters.

    Raises:
        ValueError: A LoRA target names none of its layers, or only layers that compute nothing by themselves.

    Source: ours.
    """

    def __init__(self, extractor: TrainableExtractor, train: str, lora: LoRAConfig) -> None:
        super().__init__()
        self.extractor = extractor  # no module: it computes with the weights that are `model` here
        self.model = extractor.encoder
        extractor.measure()
        if train == "lora":
            add_lora(self.model, lora)
            if lora.splits_weights:
                self.adapter_starts = AdapterStarts(self.model)
        else:
            self.model.requires_grad_(True)
            for part in extractor.fixed_parts:
                part.requires_grad_(False)
        self.train(False)
        self._freeze_unused()
        if train == "lora" and lora.targets != ALL_LINEAR:
            self._check_targets(lora.targets)
        keep_only_trainable(self, bytes.fromhex(extractor.weights), also=("adapter_starts",))

    @torch.enable_grad()
    def _freeze_unused(self) -> None:
        """Freeze what the chosen layers do not depend on, such as layers after them: it would never change."""
        trainable = [weight for weight in self.model.parameters() if weight.requires_grad]
        states = self.extractor.states([np.zeros(round(PROBE_SECONDS * SAMPLE_RATE), np.float32)])[0]
        gradients: Sequence[Tensor | None] = [None] * len(trainable)
        if states.requires_grad:
            gradients = torch.autograd.grad(states.sum(), trainable, allow_unused=True)
        for weight, gradient in zip(trainable, gradients, strict=True):
            weight.requires_grad_(gradient is not None)

    def _check_targets(self, targets: Iterable[str]) -> None:
        """Refuse targets of which no adapter is ever computed: attention may read the weights of its layers itself."""
        used = {
            name.rpartition(".")[2]
            for name, layer in adapted_layers(self.model)
            if any(weight.requires_grad for weight in layer.parameters())
        }
        unused = [target for target in targets if target not in used]
        if unused:
            raise InputError(
                f"LoRA targets {unused}: the states of the chosen layers do not depend on adapters there, since some "
                "encoders (WavLM) compute their attention only from the weights; choose other layers, those of the "
                "feed-forward part for example"
            )

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute normalised states.

        Args:
            speech: Waveforms (B, S, 1) at 16 kHz, any padding value.
            speech_lengths: Samples S (B,), int64.

        Returns:
            States (B, T, F), zero where padded, and their lengths (B,).

        Raises:
            ValueError: It is no batch of waveforms, or one of them is too short for a state.
        """
        if speech.dim() != 3 or speech.shape[2] != 1:
            raise InputError(
                f"features of shape {tuple(speech.shape)}; this front end trains, so it reads waveforms (B, S, 1): "
                "give it what its own stage features wrote"
            )
        rows = zip(speech.detach()[:, :, 0].float().cpu().numpy(), speech_lengths.tolist(), strict=True)
        self.extractor.device = str(speech.device)
        states = self.extractor.states([row[:length] for row, length in rows])
        lengths = torch.tensor([len(each) for each in states], device=speech.device)
        layers = pad_sequence(states, batch_first=True).unflatten(2, (self.extractor.num_layers, -1))
        return F.layer_norm(layers, layers.shape[-1:]).flatten(2), lengths

    def train(self, mode: bool = True) -> TrainedFrontEnd:
        """Set training mode, which only the dropout of adapters follows."""
        super().train(False)
        for name, module in self.model.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        self.training = mode
        return self


class FrontedEncoder(nn.Module):
    """An encoder after a front end that trains: waveforms (B, S, 1) -> states (B, M, D).

    Args:
        front_end: The front end.
        encoder: The encoder, which reads its states.
    """

    def __init__(self, front_end: TrainedFrontEnd, encoder: Any) -> None:
        super().__init__()
        self.front_end, self.encoder = front_end, encoder
        self.dim, self.frame_shift = encoder.dim, encoder.frame_shift

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> Encoded:
        """Encode waveforms (B, S, 1), any padding value, of S (B,) samples."""
        encoded: Encoded = self.encoder(*self.front_end(speech, speech_lengths))
        return encoded

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Take the statistics of the states, which stage statistics writes as 0 and 1."""
        self.encoder.set_normalization(mean, std)


def build_front_end(features: FeatureFormat) -> TrainedFrontEnd | None:
    """Build the front end of a network; None where it is frozen, and no part of the network.

    Raises:
        ValueError: It cannot be built, its weights are not those that the features' record names, or it cannot train.
    """
    if not features.is_trained:
        return None
    with torch.inference_mode(False):  # a network for use only is also built with what trains of it
        extractor, settings = features.build(), choose_front_end(features.frontend, features.frontend_conf).settings
        if not isinstance(extractor, TrainableExtractor):
            raise InputError(f"front end {features.frontend}: train: {settings.train}, but it cannot train")
        front_end = TrainedFrontEnd(extractor, settings.train, settings.lora)
    total = sum(weight.numel() for weight in front_end.model.parameters())
    trains = sum(weight.numel() for weight in front_end.model.parameters() if weight.requires_grad)
    logging.info("front end: %s parameters, %s train (%s)", f"{total:,}", f"{trains:,}", settings.train)
    return front_end


def build_encoder(choice: Choice[Encoder], num_units: int, features: FeatureFormat) -> Any:
    """Build an encoder of features or, where the front end trains, of waveforms.

    Args:
        choice: The encoder and its settings.
        num_units: CTC units C, blank included; 0 without a CTC head.
        features: What the features are.

    Returns:
        A torch module that is a `SpeechEncoder` and a `TrainableEncoder`.

    Raises:
        ValueError: As of `build_front_end`.
    """
    encoder = choice.build(num_units, features.shape)
    front_end = build_front_end(features)
    return encoder if front_end is None else FrontedEncoder(front_end, encoder)
