"""The target languages: what a translation is written in; to add one, add a record to TARGETS.

en -> TARGETS["en"] -> name for prompts, scripts, BLEU's tokenizer, suffix of the corpus's tables
"""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.registry import Registry


@dataclass(frozen=True)
class Target:
    """What there is to know of a target language.

    Attributes:
        name: Its code, as in the names of corpora: "en".
        language: Its name, as prompts say it: "English".
        scripts: Unicode's names of its scripts, the first words of its letters' names: "LATIN"; Japanese has several.
        bleu_tokenizer: sacreBLEU's tokenizer for it; scores of different ones are not comparable.
    """

    name: str
    language: str
    scripts: tuple[str, ...]
    bleu_tokenizer: str

    @property
    def corpus_suffix(self) -> str:
        """What the name of a corpus's table ends in: covost_v2.de_en."""
        return f"_{self.name}"


TARGETS: Registry[Target] = Registry("target language", [Target("en", "English", ("LATIN",), "13a")])
DEFAULT_TARGET = "en"
