"""Options of the miniature corpus: its sizes and its seed."""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.corpora.options import DataOptions
from speechllama.options import one_of, option
from speechllama.text.targets import DEFAULT_TARGET


@dataclass(frozen=True)
class MiniOptions(DataOptions):
    """Options of stage data of the miniature corpus; sizes are totals over all languages."""

    num_train: int = option(6000, "training utterances", group="Corpus")
    num_dev: int = option(90, "development utterances")
    num_test: int = option(450, "test utterances")
    num_llm_text: int = option(40000, "sentence pairs for the LLM's own training, num_train included")
    target_lang: str = option(
        DEFAULT_TARGET, "language of the translations, none of --langs", one_of(DEFAULT_TARGET, "de", "fr", "es")
    )
    seed: int = option(1, "of the corpus: the same seed makes the same bytes")
