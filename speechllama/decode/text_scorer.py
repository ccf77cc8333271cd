"""A text LLM as a scorer of texts, in batches of about equal length.

texts, with or without a prompt before them -> log-probabilities
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from speechllama.batches import padded_batches
from speechllama.config import from_mapping
from speechllama.faults import InputError
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import join_right_aligned
from speechllama.llm.record import read_llm_record
from speechllama.model.build import check_device
from speechllama.model.text_logits import read_text
from speechllama.progress import progress
from speechllama.split_on_oom import split_on_oom
from speechllama.text.padding import PADDING, pad_ids
from speechllama.text.prompt import Prompt, PromptConfig

BATCH_TOKENS = 8192  # LLM positions at once, padding included


class Item(NamedTuple):
    """Token ids that the LLM reads, and those it is asked for, without the end of sequence."""

    prefix: list[int]
    text: list[int]


def too_large(item: Item) -> str:
    """What to say of a text that does not fit into memory."""
    return (
        f"the LLM has no memory left for a text of {len(item.text)} tokens after {len(item.prefix)}, not even by "
        "itself; take a GPU with more memory"
    )


class TextScorer:
    """An LLM that scores texts.

    Args:
        llm: The language model, in evaluation mode, on its device.
        prompt: Renders prompts with its tokenizer.
        prompted: The text comes after the prompt, without audio in it; else after the start token only.
        batch_tokens: Positions of a batch, padding included.
    """

    def __init__(self, llm: LLM, prompt: Prompt, prompted: bool, batch_tokens: int = BATCH_TOKENS) -> None:
        self.llm, self.prompt, self.prompted, self.batch_tokens = llm, prompt, prompted, batch_tokens

    def item(self, text: str, language: str = "", template: str = "", target: str = "") -> Item:
        """What the LLM reads of a hypothesis; an LLM without a start token starts with its end of sequence.

        Args:
            text: The hypothesis.
            language: As of `Prompt.render`, as are the others.
            template: The utterance's own template.
            target: The language that is written.
        """
        start = self.prompt.tokenizer.bos_token_id
        prefix = [self.llm.eos_token_id if start is None else start]
        if self.prompted:
            ids = self.prompt.render(language, template, target)
            prefix = ids.prompt + ids.suffix or prefix
        return Item(prefix, self.prompt.encode(text))

    def score(self, items: Sequence[Item]) -> list[float]:
        """Log-probability of each text and its end, in nats; equal items are read once, in batches by length.

        Raises:
            ValueError: A text does not fit into memory, not even by itself, or not into the LLM's context.
        """
        context = self.llm.context
        longest_item = max((len(item.prefix) + len(item.text) for item in items), default=0)
        if context is not None and longest_item > context:
            raise InputError(
                f"a text takes {longest_item} positions with its prompt, the LLM that should score it has {context}; "
                "take an LLM with a longer context"
            )
        keys = [(tuple(item.prefix), tuple(item.text)) for item in items]
        unique = {key: item for key, item in zip(keys, items, strict=True)}
        ordered = sorted(unique, key=lambda key: (-len(key[0]) - len(key[1]), key))
        batches = list(padded_batches(ordered, lambda key: len(key[0]) + len(key[1]), self.batch_tokens))
        scores: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
        shown = progress(batches, len(batches), "batches") if len(batches) > 1 else batches
        for batch in shown:
            found = split_on_oom(self.score_batch, [unique[key] for key in batch], too_large)
            scores.update(zip(batch, (score for _, score in found), strict=True))
        return [scores[key] for key in keys]

    @torch.inference_mode()
    def score_batch(self, items: Sequence[Item]) -> list[float]:
        """Log-probability of each text and its end."""
        device = next(self.llm.parameters()).device
        prefixes, prefix_lengths = (tensor.to(device) for tensor in pad_ids([item.prefix for item in items]))
        text, text_lengths = (tensor.to(device) for tensor in pad_ids([item.text for item in items]))
        prefix = join_right_aligned([(self.llm.embed(prefixes), prefix_lengths)])
        logits, labels = read_text(self.llm, prefix, text, text_lengths, "causal")
        losses = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), labels, ignore_index=PADDING, reduction="none"
        )
        scores: list[float] = (-losses.sum(1)).tolist()
        return scores


def combine(entry: Mapping[str, Any], weight: float, length_norm: float) -> float:
    """The sum that chooses; without a weight the system's own score, whatever the LLM says."""
    if not weight:
        return float(entry["score"])
    return float(entry["score"] + weight * entry["llm_score"] / entry["llm_length"] ** length_norm)


def load_text_scorer(settings: Mapping[str, Any], device: str, batch_tokens: int) -> TextScorer:
    """Load the LLM of `llm_dir` with the prompts of `task`, `prompted` and `prompt_conf`."""
    path, revision = read_llm_record(settings["llm_dir"])
    check_device(device)
    llm = LLM(LLMConfig(path=path, revision=revision), device).to(device).eval()
    tokenizer = load_tokenizer(path, revision)
    config = from_mapping(PromptConfig, settings["prompt_conf"], "prompt_conf")
    return TextScorer(llm, Prompt(config, settings["task"], tokenizer), settings["prompted"], batch_tokens)
