"""Options of LibriSpeech: where it is, which parts and speakers are each set, and how its text is written."""

from __future__ import annotations

from dataclasses import dataclass

from speechllama.corpora.librispeech.divisions import DIVISIONS, Division
from speechllama.corpora.options import DataOptions
from speechllama.options import one_of, option

OWN = ("train_parts", "dev_parts", "test_parts", "dev_speakers", "test_speakers")


@dataclass(frozen=True)
class LibriSpeechOptions(DataOptions):
    """Options of stage data of LibriSpeech. Lists are separated by commas; limits of duration are for training only."""

    langs: str = option("en", "language of the speech", one_of("en"), "What the recipe gives")
    librispeech: str = option("", "folder with PART/SPEAKER/CHAPTER, or PART.tar.gz, or their URL", group="Corpus")
    division: str = option("100", f"what is train, dev and test: {', '.join(DIVISIONS)}", one_of(*DIVISIONS))
    train_parts: str = option("", "own division, instead of --division: parts for training, as train-clean-100")
    dev_parts: str = option("", "own division: parts for dev")
    test_parts: str = option("", "own division: parts for test")
    dev_speakers: str = option("", "own division: speakers of the training parts that are dev instead")
    test_speakers: str = option("", "own division: speakers of the training parts that are test instead")
    more_parts: str = option("", "further parts, each a data directory DATADIR/PART, for --sets of run.sh")
    case: str = option("lower", "of the transcripts, which are upper case: lower, or kept", one_of("lower", "kept"))
    texts: str = option("", "table 'utterance text' with case and punctuation, instead of the transcripts")
    min_duration: float = option(0.3, "shortest training utterance in seconds", group="Left out")
    max_duration: float = option(30.0, "longest training utterance in seconds")
    max_bad_share: float = option(0.05, "share of a part's utterances that may be faulty")

    @property
    def place(self) -> str:
        """Where the parts are."""
        return self.librispeech or f"{self.downloads}/librispeech"

    @property
    def chosen_division(self) -> Division:
        """The division: the user's own, if one of its options is given."""
        values = {name: tuple(getattr(self, name).replace(",", " ").split()) for name in OWN}
        return Division("own", **values) if any(values.values()) else DIVISIONS[self.division]

    @property
    def further_parts(self) -> tuple[str, ...]:
        """Parts that become data directories of their own."""
        return tuple(self.more_parts.replace(",", " ").split())
