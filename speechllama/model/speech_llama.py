"""Speech-LLaMA: the file to read first.

features (B, T, F) -> encoder (B, M, D) -> compressor (B, U, D) -> audio encoder (B, U, H)
  -> [prompt ; audio ; suffix ; text] (B, N, H) -> LLM -> cross-entropy of the text and its end
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.faults import InputError
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix, join_right_aligned
from speechllama.model.audio import AudioInput, Compressed, Features, SpeechEncoder, Words
from speechllama.model.audio_encoder import Ends
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.text_logits import TextLogits, read_text
from speechllama.text.padding import PADDING


class Batch(NamedTuple):
    """Audio and prompt of B utterances.

    Attributes:
        audio: Features (B, T, F), or what the compressor makes of them, from the cache, with lengths (B,); or, in
            training on text, the words that stand in their place.
        prompt: Token ids before the audio (B, P), int64, padding -1; it starts with the LLM's start token.
        prompt_lengths: Their number (B,).
        suffix: Token ids between audio and text (B, Q), padding -1; Q may be 0.
        suffix_lengths: Their number (B,).
    """

    audio: AudioInput | Words
    prompt: Tensor
    prompt_lengths: Tensor
    suffix: Tensor
    suffix_lengths: Tensor


class Loss(NamedTuple):
    """Loss in nats per text token, share of tokens that are the LLM's first choice, and the number of tokens."""

    loss: Tensor
    accuracy: Tensor
    num_tokens: Tensor


class SpeechLlama(nn.Module):
    """The whole network; the config says which parts train.

    Args:
        config: Settings.
        encoder: Any `SpeechEncoder`: the trained CTC encoder, frozen, or a new one that trains with the rest (E0, D).
        llm: The language model.
        num_units: CTC units C of the trained encoder, blank included; 0 without a CTC head.

    Raises:
        TypeError: The encoder is not a `SpeechEncoder`.

    Source: arXiv 2307.03917, section 3.
    """

    def __init__(self, config: SpeechLlamaConfig, encoder: nn.Module, llm: LLM, num_units: int = 0) -> None:
        super().__init__()
        if not isinstance(encoder, SpeechEncoder):
            raise TypeError(f"{type(encoder).__name__} is no encoder: it needs dim and frame_shift")
        self.config = config
        self.encoder = encoder.requires_grad_(False) if config.freeze_encoder else encoder
        self.compressor: nn.Module = config.compressor.build(encoder.dim)
        ends = Ends(encoder.dim, num_units, llm.dim, llm.embedding_std)
        self.audio_encoder: nn.Module = config.compressor.record.build_audio_encoder(config, ends)
        if not config.train_audio_encoder:
            self.audio_encoder.requires_grad_(False)
        self.llm = llm

    def forward(self, batch: Batch, text: Tensor, text_lengths: Tensor) -> Loss:
        """Compute the loss of the text, given the audio and the prompt.

        Args:
            batch: Audio and prompt.
            text: Token ids without end-of-sequence (B, L), int64, padding -1; the end is added here.
            text_lengths: Their number (B,), int64.

        Returns:
            Cross-entropy of the text and its end of sequence only.
        """
        return self.loss_of(*self.read(batch, text, text_lengths))

    def read(self, batch: Batch, text: Tensor, text_lengths: Tensor) -> TextLogits:
        """Score each token of the text (B, L) and its end, given what comes before it; see `forward`."""
        prefix = self.embed_prefix(batch)
        # Words are read as the LLM has learned to read them.
        mask = "causal" if isinstance(batch.audio, Words) else self.config.prefix_mask
        return read_text(self.llm, prefix, text, text_lengths, mask)

    def embed_prefix(self, batch: Batch) -> Prefix:
        """Embed all that the LLM reads before the text: [prompt ; audio ; suffix] (B, P, H), right-aligned.

        Raises:
            ValueError: The batch comes from the cache, and the output of this compressor cannot be cached.
        """
        compressor = self.config.compressor.record
        if isinstance(batch.audio, Words):
            embedded, lengths = self.llm.embed(batch.audio.tokens), batch.audio.lengths
        else:
            if isinstance(batch.audio, Features):
                audio = self.compress(batch.audio)
            elif compressor.is_cached:
                audio = batch.audio
            else:
                raise InputError(f"the compressor {compressor.name} takes features, not compressed.scp")
            embedded, lengths = self.audio_encoder(audio.vectors, audio.lengths), audio.lengths  # (B, U, H)
        return join_right_aligned(
            [
                (self.llm.embed(batch.prompt).to(embedded.dtype), batch.prompt_lengths),
                (embedded, lengths),
                (self.llm.embed(batch.suffix).to(embedded.dtype), batch.suffix_lengths),
            ]
        )

    def compress(self, features: Features) -> Compressed:
        """Shorten features (B, T, F) to what the audio encoder reads; no gradients if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_encoder):
            encoded = self.encoder(*features)
        compressed: Compressed = self.compressor(encoded)
        return compressed

    def train(self, mode: bool = True) -> SpeechLlama:
        """Set training mode; frozen parts stay in evaluation mode (no dropout, no SpecAugment)."""
        super().train(mode)
        self.encoder.train(mode and not self.config.freeze_encoder)
        self.audio_encoder.train(mode and self.config.train_audio_encoder)
        return self

    def loss_of(self, logits: Tensor, labels: Tensor) -> Loss:
        """Mean cross-entropy and accuracy over the labels (B, L + 1) that are not padding, of logits (B, L + 1, V)."""
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=PADDING,
            label_smoothing=self.config.label_smoothing if self.training else 0.0,
        )
        valid = labels != PADDING
        hits = (logits.detach().argmax(-1) == labels) & valid
        return Loss(loss, hits.sum() / valid.sum(), valid.sum())
