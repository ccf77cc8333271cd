"""The utterance of which times and memory are estimated: as the data have it where they are there.

data/<set>/{utt2dur, text}, the LLM's tokenizer -> BatchShape of a mean utterance
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.data.durations_check import spread
from speechllama.files import read_table
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.recipe.preflight.amounts import VECTORS_PER_SECOND
from speechllama.recipe.preflight.memory import BatchShape

if TYPE_CHECKING:
    from speechllama.recipe.preflight.run import CheckedRun

SAMPLE = 200  # texts that are encoded, to know the tokens of the others by their characters
CHARACTERS_PER_TOKEN = 3.5  # of an LLM that is not here


def measure_utterance(run: CheckedRun, set_name: str) -> BatchShape:
    """Give the mean utterance of a set; without its data, or without texts, what is typical of CoVoST 2."""
    shape = BatchShape.of_features(run.features.shape)
    durations = Path(run.layout.data(set_name, "utt2dur"))
    texts = Path(run.layout.data(set_name, run.layout.task.reference))
    seconds = [float(value) for value in read_table(durations).values()] if durations.is_file() else []
    if seconds:
        mean = sum(seconds) / len(seconds)
        frames = max(1, round(mean / run.features.frame_shift))
        shape = dataclasses.replace(shape, num_frames=frames, num_audio=max(1, round(mean * VECTORS_PER_SECOND)))
    table = run.layout.task.texts_of(read_table(texts)) if texts.is_file() else {}
    written = list(filter(None, table.values()))
    if written:
        characters = sum(map(len, written)) / len(written)
        shape = dataclasses.replace(shape, num_text=max(1, round(characters / characters_per_token(run, written))))
    return shape


def characters_per_token(run: CheckedRun, texts: Sequence[str]) -> float:
    """Measure it on some texts with the LLM's own tokenizer, if there is one on this machine."""
    path, revision = run.options.llm, run.options.revision or None
    if (Path(run.layout.llm_dir) / LLM_FILE).is_file():
        path, revision = read_llm_record(run.layout.llm_dir)
    if not Path(path).is_dir() or not path:
        return CHARACTERS_PER_TOKEN
    tokenizer = load_tokenizer(path, revision)
    sample = spread(texts, SAMPLE)
    num_tokens = sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in sample)
    return max(0.1, sum(map(len, sample)) / max(1, num_tokens))
