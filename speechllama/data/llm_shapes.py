"""Lengths that LLM batches are made by: utt2num_frames, text -> LLM positions of each utterance.

utt2num_frames, text -> "utterance positions"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from speechllama.data.data_dir import DataDir
from speechllama.faults import first_ten
from speechllama.files import write_table
from speechllama.text.prompt import Prompt


def write_llm_shapes(
    data: DataDir, prompt: Prompt, text_name: str, output_file: str | Path, num_vectors: Callable[[int], int]
) -> None:
    """Count prompt, audio and text positions of each utterance; leave out those without text.

    Batches made by this number hold about equal work for the LLM, which audio or text length by itself would not give.

    Args:
        data: Data directory with the cache or with features.
        prompt: Renders prompts and text.
        text_name: The table of targets.
        output_file: The shape file.
        num_vectors: Feature frames -> vectors, at most, where there is no cache.

    Raises:
        ValueError: No utterance has both audio and text.
    """
    count = int if data.table("compressed.scp") else num_vectors
    lengths, texts, languages = data.table("utt2num_frames"), data.table(text_name), data.table("utt2lang")
    templates = data.table("prompt")
    shapes: dict[str, str] = {}
    left_out: list[str] = []
    for utterance, frames in lengths.items():
        tokens = prompt.encode(texts.get(utterance, ""))
        if not tokens:
            left_out.append(utterance)
            continue
        ids = prompt.render(languages.get(utterance, ""), templates.get(utterance, ""))
        audio = count(int(frames))
        shapes[utterance] = str(len(ids.prompt) + audio + len(ids.suffix) + len(tokens) + 1)
    if not shapes:
        raise ValueError(f"{data.path}: no utterance has audio and {text_name}; check the data stage")
    write_table(output_file, shapes)
    logging.info("%s: kept %d of %d%s", output_file, len(shapes), len(lengths), first_ten(left_out))
