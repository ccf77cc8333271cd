"""Options of CoVoST 2: where the corpora are, what is taken of them, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.corpora.options import DataOptions
from speechllama.options import one_of, option
from speechllama.text.targets import DEFAULT_TARGET, TARGETS

X_EN, EN_X = DIRECTIONS = ("x_en", "en_x")


def english_targets(direction: str, languages: tuple[str, ...], target: str) -> tuple[str, ...]:
    """What English is translated into: the target language if it is another, else all languages; () into English."""
    if direction != EN_X:
        return ()
    return languages if target == DEFAULT_TARGET else (target,)


@dataclass(frozen=True)
class CovostOptions(DataOptions):
    """Options of stage data of CoVoST 2. The limits of duration and text hold for training: dev and test stay whole."""

    common_voice: str = option("", "Common Voice: DIR/[cv-corpus-*/]<lang>/validated.tsv, or archives", group="Corpora")
    covost2: str = option("", "directory or URL of covost_v2.<lang>_<target>.tsv or .tsv.tar.gz")
    target_lang: str = option(DEFAULT_TARGET, "language of the translations", one_of(*TARGETS))
    direction: str = option(X_EN, "en_x: English into --target_lang, or else into each of --langs", one_of(*DIRECTIONS))
    english: str = option("none", "English table to train with, too", one_of("none", "train", "validated"))
    pseudo_labels: str = option("", "TSV with lang, path, sentence, translation[, client_id]: training targets")
    all_as: str = option("", "put all rows into one set DATADIR/NAME, for --sets of a run; none are for training")
    drop_overlap: bool = option(
        True, "no training sentence that dev or test have; published systems: false", group="Left out"
    )
    min_duration: float = option(0.3, "shortest training clip in seconds")
    max_duration: float = option(30.0, "longest training clip in seconds")
    check_characters: bool = option(True, "no training text unprintable or in another script")
    min_chars_per_second: float = option(0.2, "least text of a training clip for its audio")
    max_chars_per_second: float = option(40.0, "most text of a training clip for its audio")
    max_bad_share: float = option(0.05, "share of a language's clips that may be absent or damaged")
    max_missing_share: float = option(0.5, "share of CoVoST 2's rows that validated.tsv may lack")

    @property
    def targets(self) -> tuple[str, ...]:
        """What English is translated into; () for several languages into one."""
        return english_targets(self.direction, self.languages, self.target_lang)

    @property
    def places(self) -> tuple[str, str]:
        """Where Common Voice and CoVoST 2 are."""
        return (self.common_voice or f"{self.downloads}/common_voice", self.covost2 or f"{self.downloads}/covost2")
