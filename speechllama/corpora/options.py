"""Options that the data stage gives to every local/data.sh; the options of a corpus extend them."""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.options import at_least_one, not_empty, option
from speechllama.text.targets import DEFAULT_TARGET


@dataclass(frozen=True)
class DataOptions:
    """Options of stage data, whatever the corpus."""

    help: bool = option(False, "print this help")
    langs: str = option("de", "source languages, separated by spaces", not_empty, "What the recipe gives")
    datadir: str = option("data", "data directories are written here")
    downloads: str = option("downloads", "what is fetched, unpacked or made")
    nj: int = option(2, "parallel jobs", at_least_one)

    @property
    def languages(self) -> tuple[str, ...]:
        """The source languages."""
        return tuple(self.langs.split())


@dataclass(frozen=True)
class OwnOptions(DataOptions):
    """Options of stage data of a corpus that only its recipe knows; extend it with options of your own."""

    corpus: str = option("", "folder or URL of the corpus", group="Corpus")
    target_lang: str = option(DEFAULT_TARGET, "language of the translations")
