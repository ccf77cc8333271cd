"""What `generate` of transformers writes, for tests that compare the search with it."""

from __future__ import annotations

from typing import Any

import torch

from speechllama.decode.search_config import SearchConfig
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix, join_right_aligned

EOS = 2
PROMPTS = [[1, 20, 33, 7], [1, 9], [1, 50, 51, 52, 53, 54, 55, 8], [1, 100, 13]]


def embed(llm: LLM, prompts: list[list[int]]) -> Prefix:
    """Prompts as prefixes of the search."""
    width = max(map(len, prompts))
    ids = torch.tensor([prompt + [-1] * (width - len(prompt)) for prompt in prompts])
    return join_right_aligned([(llm.embed(ids), torch.tensor([len(prompt) for prompt in prompts]))])


def generate(llm: LLM, prompt: list[int], limit: int, config: SearchConfig) -> list[tuple[list[int], float]]:
    """Hypotheses of transformers for one prompt, which is embeddings, so that penalties count the text only."""
    output: Any = llm.model.generate(
        inputs_embeds=llm.embed(torch.tensor([prompt])),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        num_beams=1 if config.num_samples else config.beam_size,
        num_return_sequences=config.num_samples or config.nbest,
        length_penalty=config.length_penalty,
        max_new_tokens=limit,
        do_sample=bool(config.num_samples),
        **sampling(config),
        repetition_penalty=config.repetition_penalty,
        no_repeat_ngram_size=config.no_repeat_ngram_size,
        early_stopping=False,
        eos_token_id=EOS,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    rows = [row[: row.index(EOS)] if EOS in row else row for row in output.sequences.tolist()]
    if "sequences_scores" in output:
        return list(zip(rows, output.sequences_scores.tolist(), strict=True))
    gained = llm.model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    lengths = [len(row) + 1 if len(row) < limit else limit for row in rows]
    return [
        (row, float(gains[:length].sum()) / length**config.length_penalty)
        for row, gains, length in zip(rows, gained, lengths, strict=True)
    ]


def sampling(config: SearchConfig) -> dict[str, Any]:
    """The options of sampling; transformers warns of them where nothing is sampled."""
    if not config.num_samples:
        return {}
    return {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
