"""Options of the corpora that are known by their form: which splits are which sets, columns, limits of training.

--train train --dev validation --test "tst-COMMON,tst-HE" -> {"train": ..., "dev": ..., "test": ..., "tst-HE": ...}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from speechllama.constants import SPLITS
from speechllama.corpora.options import OwnOptions
from speechllama.faults import InputError
from speechllama.options import not_empty, option

TEST = "test splits: the first is data/test, each other one data/SPLIT"
NONE = "none"  # a text that the corpus does not have; the other one takes its place


def split_list(value: str) -> tuple[str, ...]:
    """Split a list at commas and spaces."""
    return tuple(re.split(r"[,\s]+", value.strip(", \t\n")))


@dataclass(frozen=True)
class FormatOptions(OwnOptions):
    """Options of a corpus that is known by its form."""

    train: str = option("train", "splits for training, separated by commas", not_empty, "Sets")
    dev: str = option("dev", "splits for dev", not_empty)
    test: str = option("test", TEST, not_empty)
    min_duration: float = option(0.3, "shortest training utterance in seconds", group="What training leaves out")
    max_duration: float = option(30.0, "longest training utterance in seconds")
    max_chars_per_second: float = option(40.0, "most characters of a text a second of training speech")
    check_characters: bool = option(False, "leave out training texts in another script than their language's")
    max_bad_share: float = option(0.05, "share of a set's utterances that may be faulty")

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Splits of each set.

        Raises:
            ValueError: A further test split has the name of another set.
        """
        first, *others = split_list(self.test)
        sets = {"train": split_list(self.train), "dev": split_list(self.dev), "test": (first,)}
        for split in others:
            name = re.sub(r"[^\w.+-]+", "_", split)
            if name in (*SPLITS, *sets):
                raise InputError(f"--test {self.test}: {split!r} would be data/{name}, which is another set")
            sets[name] = (split,)
        return sets

    def only_language(self, how: str) -> str:
        """Give the one source language of a corpus that does not name its languages.

        Args:
            how: What would name them.

        Raises:
            ValueError: There are several.
        """
        if len(self.languages) != 1:
            raise InputError(f"--langs {self.langs}: which utterance is in which of these languages? {how}")
        return self.languages[0]


@dataclass(frozen=True)
class IwsltOptions(FormatOptions):
    """Options of a corpus in the form of MuST-C and IWSLT: a list of segments, and parallel lines of text.

    DIR/[data/]SPLIT/txt/SPLIT.yaml, SPLIT.SOURCE and SPLIT.TARGET, and DIR/[data/]SPLIT/wav; see egs/iwslt/README.md.
    """

    test: str = option("tst-COMMON", TEST, not_empty)
    source_suffix: str = option(
        "", "suffix of the transcripts' files, if not the code; none: there are none", group="Files"
    )
    target_suffix: str = option("", "suffix of the translations' files, if not the code; none: there are none")


@dataclass(frozen=True)
class ColumnOptions(FormatOptions):
    """Options of a corpus whose utterances have named fields; a.b is field b of field a."""

    text_column: str = option("translation", "the translations; none: there are none", not_empty, "Columns")
    src_text_column: str = option("sentence", "the transcripts; none: there are none", not_empty)
    lang_column: str = option("", "source language, a code or an English name; empty: that of --langs")
    target_column: str = option("", "target language, a code or an English name; empty: --target_lang")
    speaker_column: str = option("", "speaker; empty: each recording is a speaker")
    id_column: str = option("", "name of the utterance; empty: the recording's, and the row's number")


@dataclass(frozen=True)
class TsvOptions(ColumnOptions):
    """Options of tab-separated tables: DIR/SPLIT.tsv, whose first line names the columns."""

    audio_column: str = option("audio", "path of the recording, from DIR", not_empty)
    start_column: str = option("", "where the utterance begins in it, in seconds")
    end_column: str = option("", "where it ends, in seconds")


@dataclass(frozen=True)
class DatasetsOptions(TsvOptions):
    """Options of a Hugging Face dataset: a folder of it (save_to_disk, parquet, ...), or its id on the hub."""

    dev: str = option("validation", "splits for dev", not_empty)
    audio_column: str = option("audio", "the audio, bytes or paths", not_empty)
    config_name: str = option("", "configuration of the dataset, such as a language", group="Dataset")
    revision: str = option("", "revision of a dataset of the hub")


@dataclass(frozen=True)
class LhotseOptions(ColumnOptions):
    """Options of Lhotse's cuts: manifests or shar; columns are fields of a supervision, also custom ones."""

    src_text_column: str = option("text", "the transcripts; none: there are none", not_empty)
    lang_column: str = option("language", "source language, a code or an English name; empty: that of --langs")
    speaker_column: str = option("speaker", "speaker; empty: each recording is a speaker")
    id_column: str = option("id", "name of the utterance; empty: the recording's, and its number")
