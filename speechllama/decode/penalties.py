"""Penalties on what a text has already: no n-gram twice, repeated tokens less likely.

texts so far (A, K, t), scores of the next token (A, K, V) -> scores (A, K, V)

Only the text counts, not the prompt and not the audio: they are embeddings, as with `generate(inputs_embeds=...)`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from speechllama.decode.search_config import SearchConfig


class Penalties:
    """The processors of transformers that the settings ask for, in the order in which `generate` runs them.

    Args:
        config: Settings of the search.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.processors: list[Any] = []
        if config.repetition_penalty != 1.0:
            from transformers import RepetitionPenaltyLogitsProcessor

            self.processors.append(RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty)))
        if config.no_repeat_ngram_size:
            from transformers import NoRepeatNGramLogitsProcessor

            self.processors.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.processors)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Change the scores of what may follow each hypothesis.

        Args:
            tokens: What the hypotheses have so far (A, K, t), int64.
            scores: Of the next token (A, K, V): logits in greedy search and sampling, log-probabilities in a beam, as
                in transformers.

        Returns:
            Scores (A, K, V); a forbidden token has -inf. Log-probabilities do not sum to 1 any more.
        """
        rows, changed = tokens.flatten(0, 1), scores.flatten(0, 1)
        for processor in self.processors:
            changed = processor(rows, changed)
        return changed.view_as(scores)
