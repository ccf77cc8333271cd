"""Text after a prefix: logits of the text and its end, against transformers one utterance at a time."""

from __future__ import annotations

from pathlib import Path

import torch

from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import join_right_aligned
from speechllama.model.text_logits import append_eos, read_text
from speechllama.text.padding import pad_ids

EOS = 2


def test_labels_end_with_the_end_of_sequence() -> None:
    labels = append_eos(torch.tensor([[5, 6], [7, -1]]), torch.tensor([2, 1]), EOS)
    assert labels.tolist() == [[5, 6, EOS], [7, EOS, -1]]


def test_the_logits_of_a_batch_are_those_of_each_text_after_its_own_prefix(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm))).eval()
    prefixes, texts = [[1, 9, 8, 7], [1, 5]], [[20], [30, 31, 32]]
    ids, lengths = pad_ids(prefixes)
    with torch.no_grad():
        found = read_text(llm, join_right_aligned([(llm.embed(ids), lengths)]), *pad_ids(texts), "causal")
        for row, (prefix, text) in enumerate(zip(prefixes, texts, strict=True)):
            expected = llm.model(torch.tensor([prefix + text])).logits[0, len(prefix) - 1 :]
            torch.testing.assert_close(found.logits[row, : len(text) + 1], expected, atol=1e-4, rtol=1e-4)
    end = llm.eos_token_id
    assert found.labels.tolist() == [[20, end, -1, -1], [30, 31, 32, end]]
