"""ESPnet's Transformer decoder, one unit at a time with cached keys and values.

    last units (A, K), history -> log-probabilities of the next (A, K, C + 1)

ESPnet's own stepping keeps the layers' outputs and projects them, and the encoder's states, again at every step. Here
both are projected once, and the K hypotheses of an utterance share one row of columns, as in the search over the LLM.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechllama.constants import BLANK
from speechllama.model.layers import length_mask, sinusoidal_positions
from speechllama.model.seq2seq import EncoderStates, Seq2Seq


class CachedDecoder:
    """A decoder with its cache for A utterances.

    Args:
        network: The encoder-decoder, in evaluation mode.
        encoded: The output of its encoder.
    """

    def __init__(self, network: Seq2Seq, encoded: EncoderStates) -> None:
        self.decoder, self.dim = network.decoder, network.config.dim
        # Keys and values of each layer, (A, heads, n, D / heads) each: of the encoder's states, and of the text, which
        # is the start and then K columns a step.
        states = encoded.states
        self.memory = [layer.src_attn.forward_qkv(states, states, states)[1:] for layer in self.decoder.decoders]
        self.text: list[tuple[Tensor, Tensor]] = []
        self.valid = length_mask(encoded.lengths, states.shape[1])[:, None, None]  # (A, 1, 1, M)

    def select(self, rows: Tensor) -> None:
        """Keep some utterances."""
        self.memory = [(keys[rows], values[rows]) for keys, values in self.memory]
        self.text = [(keys[rows], values[rows]) for keys, values in self.text]
        self.valid = self.valid[rows]

    def step(self, units: Tensor, history: Tensor, place: int) -> Tensor:
        """Score what follows the K hypotheses of each utterance, as the decoder's own forward would.

        Args:
            units: Last unit of each hypothesis (A, K); their keys and values join the text's.
            history: Which of the text's columns, these K included, each hypothesis sees (A, K, n), bool.
            place: Position of these units; 0 is the start.

        Returns:
            Log-probabilities (A, K, C + 1), float32; blank is impossible.
        """
        embedding, _ = self.decoder.embed
        positions = sinusoidal_positions(place + 1, self.dim, units.device)
        hidden = embedding(units) * math.sqrt(self.dim) + positions[place]  # (A, K, D)
        for index, layer in enumerate(self.decoder.decoders):
            normed = layer.norm1(hidden)
            query, keys, values = layer.self_attn.forward_qkv(normed, normed, normed)
            if index < len(self.text):
                before = self.text[index]
                self.text[index] = (torch.cat((before[0], keys), 2), torch.cat((before[1], values), 2))
            else:
                self.text.append((keys, values))
            hidden = hidden + _attend(layer.self_attn, query, self.text[index], history[:, None])
            attention = layer.src_attn
            query = attention.linear_q(layer.norm2(hidden)).unflatten(2, (attention.h, attention.d_k)).transpose(1, 2)
            hidden = hidden + _attend(attention, query, self.memory[index], self.valid)
            hidden = hidden + layer.feed_forward(layer.norm3(hidden))
        log_probs: Tensor = self.decoder.output_layer(self.decoder.after_norm(hidden)).float().log_softmax(-1)
        log_probs[:, :, BLANK] = -torch.inf
        return log_probs


def _attend(attention: Any, query: Tensor, cached: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Run ESPnet's attention over cached keys and values -> (A, K, D)."""
    seen = F.scaled_dot_product_attention(query, *cached, attn_mask=mask)
    output: Tensor = attention.linear_out(seen.transpose(1, 2).flatten(2))
    return output
