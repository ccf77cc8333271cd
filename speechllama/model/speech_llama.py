"""Speech-LLaMA: the page to read.

log-mel (B, T, F) -> CTC encoder (B, M, D) -> compressor (B, U, D) -> audio encoder (B, U, H)
  -> [prompt ; audio ; suffix ; text] (B, N, H) -> LLM -> cross-entropy of the text and its end
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechllama.llm.llm import LLM
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.compressor import CACHED_COMPRESSORS, Compressed, build_compressor
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.ctc_encoder import CTCEncoder
from speechllama.model.prefix_mask import Prefix, join_right_aligned
from speechllama.model.text_logits import read_text
from speechllama.model.units import UnitEmbedding
from speechllama.text.padding import PADDING


class Batch(NamedTuple):
    """What the LLM is given and asked, for B utterances.

    Attributes:
        audio: Log-mel features (B, T, F) or, if `is_compressed`, the compressor's output (B, U, D).
        audio_lengths: Valid frames (B,), int64.
        prompt: Token ids before the audio (B, P), int64, padding -1; it starts with the LLM's start token.
        prompt_lengths: Their number (B,).
        suffix: Token ids between audio and text (B, Q), padding -1; Q may be 0.
        suffix_lengths: Their number (B,).
        is_compressed: Whether `audio` comes from the compressed-feature cache.
    """

    audio: Tensor
    audio_lengths: Tensor
    prompt: Tensor
    prompt_lengths: Tensor
    suffix: Tensor
    suffix_lengths: Tensor
    is_compressed: bool


class Loss(NamedTuple):
    """Loss in nats per text token, share of tokens that are the LLM's first choice, and the number of tokens."""

    loss: Tensor
    accuracy: Tensor
    num_tokens: Tensor


class SpeechLlama(nn.Module):
    """The whole network; which parts train is the config's business and checked here.

    Args:
        config: Settings.
        encoder: CTC encoder, trained before and then frozen, or fresh for E0 and D (`config.ctc_dir` empty).
        llm: The language model.

    Raises:
        ValueError: A compressor that stands on a trained CTC encoder, without one.

    Source: arXiv 2307.03917, section 3.
    """

    def __init__(self, config: SpeechLlamaConfig, encoder: CTCEncoder, llm: LLM) -> None:
        super().__init__()
        if config.compressor.name in CACHED_COMPRESSORS and encoder.head is None:
            raise ValueError(
                f"the compressor {config.compressor.name} needs a trained CTC encoder, and there is none: "
                f"give ctc_dir, or choose another compressor than {', '.join(CACHED_COMPRESSORS)}"
            )
        self.config = config
        self.encoder = encoder.requires_grad_(not config.ctc_dir)
        self.compressor = build_compressor(config.compressor, encoder.dim)
        self.audio_encoder: AudioEncoder | UnitEmbedding
        if config.compressor.name == "units":
            self.audio_encoder = UnitEmbedding(config.compressor.num_clusters, llm.dim, llm.embedding_std)
        else:
            self.audio_encoder = AudioEncoder(config.audio_encoder, encoder.dim, llm.dim, llm.embedding_std)
        self.audio_encoder.requires_grad_(config.train_audio_encoder)
        self.llm = llm

    def forward(self, batch: Batch, text: Tensor, text_lengths: Tensor) -> Loss:
        """Teach the LLM to write the text after hearing the audio.

        Args:
            batch: Audio and prompt.
            text: Token ids without end-of-sequence (B, L), int64, padding -1; the end is added here.
            text_lengths: Their number (B,), int64.

        Returns:
            Cross-entropy over the text and its end of sequence, nothing else.
        """
        prefix = self.embed_prefix(batch)
        return self._loss(*read_text(self.llm, prefix, text, text_lengths, self.config.prefix_mask))

    def embed_prefix(self, batch: Batch) -> Prefix:
        """Everything the LLM sees before the text: [prompt ; audio ; suffix] (B, P, H), right-aligned.

        Raises:
            ValueError: The batch comes from the cache, but the compressor is none whose output can be cached.
        """
        audio, audio_lengths = batch.audio, batch.audio_lengths
        if batch.is_compressed and self.config.compressor.name not in CACHED_COMPRESSORS:
            raise ValueError(f"the compressor {self.config.compressor.name} takes features, not compressed.scp")
        if not batch.is_compressed:
            compressed = self.compress(audio, audio_lengths)
            audio, audio_lengths = compressed.vectors, compressed.lengths
        heard = self.audio_encoder(audio, audio_lengths)  # (B, U, H)
        return join_right_aligned(
            [
                (self.llm.embed(batch.prompt).to(heard.dtype), batch.prompt_lengths),
                (heard, audio_lengths),
                (self.llm.embed(batch.suffix).to(heard.dtype), batch.suffix_lengths),
            ]
        )

    def compress(self, speech: Tensor, speech_lengths: Tensor) -> Compressed:
        """Log-mel features (B, T, F) to compressed vectors (B, U, D); without gradients if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.ctc_dir):
            encoded = self.encoder(speech, speech_lengths)
        compressed: Compressed = self.compressor(encoded)
        return compressed

    def train(self, mode: bool = True) -> SpeechLlama:
        """Set training mode; frozen parts stay in evaluation mode (no dropout, no SpecAugment)."""
        super().train(mode)
        self.encoder.train(mode and not self.config.ctc_dir)
        self.audio_encoder.train(mode and self.config.train_audio_encoder)
        return self

    def _loss(self, logits: Tensor, labels: Tensor) -> Loss:
        """Mean cross-entropy and accuracy over the labels (B, L + 1) that are not padding."""
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=PADDING,
            label_smoothing=self.config.label_smoothing if self.training else 0.0,
        )
        valid = labels != PADDING
        hits = (logits.detach().argmax(-1) == labels) & valid
        return Loss(loss, hits.sum() / valid.sum(), valid.sum())
