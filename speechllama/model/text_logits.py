"""Logits of a text after a prefix, in training and in rescoring.

[prefix (B, P, H) ; text (B, L)] -> LLM -> logits (B, L + 1, V) and labels (B, L + 1)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix, PrefixMaskName, position_ids, visible
from speechllama.model.layers import length_mask
from speechllama.text.padding import PADDING


class TextLogits(NamedTuple):
    """The LLM's logits at each token of a text, and the tokens.

    Attributes:
        logits: Of the text and its end of sequence (B, L + 1, V), in the LLM's dtype.
        labels: The tokens themselves (B, L + 1), int64, padding -1.
    """

    logits: Tensor
    labels: Tensor


def read_text(llm: LLM, prefix: Prefix, text: Tensor, text_lengths: Tensor, prefix_mask: PrefixMaskName) -> TextLogits:
    """Run the LLM over a text that follows a prefix.

    Args:
        llm: The language model.
        prefix: Everything before the text.
        text: Token ids without end of sequence (B, L), int64, padding -1; the end is added here.
        text_lengths: Their number (B,), int64.
        prefix_mask: Attention mask of the prefix.

    Returns:
        Logits and labels of the text and its end; the text's loss is their cross-entropy.
    """
    width, num_text = prefix.embeddings.shape[1], text.shape[1]
    embeddings = torch.cat((prefix.embeddings, llm.embed(text).to(prefix.embeddings.dtype)), dim=1)
    seen = visible(prefix.lengths, width, num_text, prefix_mask)
    positions = position_ids(prefix.lengths, width, num_text)
    # The prefix's last column predicts the first token, the last token's column the end: L + 1 logits.
    logits = llm(embeddings, seen, positions, num_logits=num_text + 1)
    return TextLogits(logits, append_eos(text, text_lengths, llm.eos_token_id))


def append_eos(text: Tensor, text_lengths: Tensor, eos_token_id: int) -> Tensor:
    """Return the labels of a text: its tokens and the end of sequence (B, L + 1), padding -1.

    Without the end among the labels the model would never learn to stop.
    """
    labels = F.pad(text, (0, 1), value=PADDING)
    valid = length_mask(text_lengths, labels.shape[1])
    return labels.masked_fill(~valid, PADDING).scatter(1, text_lengths[:, None], eos_token_id)
