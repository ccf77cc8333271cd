"""Options of spoken Tatoeba: its pairs, its sizes and its seed."""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.corpora.options import DataOptions
from speechllama.options import option


@dataclass(frozen=True)
class TatoebaOptions(DataOptions):
    """Options of stage data of spoken Tatoeba; sizes are totals over all languages, paths are absolute."""

    pairs: str = option("", "folder with <code>-eng.{tsv.gz,tsv,txt,zip}, or path or URL with {code}", group="Corpus")
    plain_text: str = option("", "English text for the LLM: a file, or a folder with .txt files")
    hours: float = option(100.0, "of training speech, about; a fraction will do")
    num_dev: int = option(400, "development utterances")
    num_test: int = option(1000, "test utterances")
    seed: int = option(1, "of the corpus: the same pairs and seed make the same bytes")

    @property
    def pairs_place(self) -> str:
        """Where the sentence pairs are."""
        return self.pairs or f"{self.downloads}/pairs"
