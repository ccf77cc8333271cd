"""The corpora that the data stage can prepare; to add one, add a record to CORPORA.

    --corpus_kind covost2 -> CORPORA["covost2"] -> its options, its files, how to prepare it

A recipe of your own needs no record: its `local/data.sh` is enough. With a record, the data stage notices when the
corpus has changed, the preflight can check it, and the recipe needs no `local/`. The last ones are forms of corpora,
whatever they contain.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechllama.corpora.covost2.options import CovostOptions
from speechllama.corpora.formats.options import (
    DatasetsOptions,
    FormatOptions,
    IwsltOptions,
    LhotseOptions,
    TsvOptions,
)
from speechllama.corpora.librispeech.options import LibriSpeechOptions
from speechllama.corpora.mini.options import MiniOptions
from speechllama.corpora.options import DataOptions
from speechllama.corpora.tatoeba.options import TatoebaOptions
from speechllama.registry import Registry
from speechllama.text.targets import DEFAULT_TARGET

if TYPE_CHECKING:
    from speechllama.corpora.covost2.pairs import Pairs


@dataclass
class Sources:
    """The files that a corpus is made of, those that exist.

    Attributes:
        tables: Files that are compared by checksum; a changed one makes the data stage stale.
        archives: Files too large for a checksum; they are compared by name, size and modification time.
    """

    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)

    def stamps(self) -> str:
        """Name, size and modification time of each archive, as a setting of the data stage."""
        states = [(Path(path).name, Path(path).stat()) for path in self.archives]
        return " ".join(f"{name}:{state.st_size}:{int(state.st_mtime)}" for name, state in states)


@dataclass
class SizeEstimate:
    """What is known of a corpus before it is prepared.

    Attributes:
        num_rows: Utterances of each set.
        bytes_to_unpack: Disk that its archives will take.
        faults: What is missing, ambiguous or damaged.
        seconds_each: Duration of an utterance, about; 0: that of Common Voice's clips.
    """

    num_rows: Counter[str] = field(default_factory=Counter)
    bytes_to_unpack: float = 0.0
    faults: list[str] = field(default_factory=list)
    seconds_each: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """A corpus that the data stage can prepare.

    Attributes:
        name: Its name in `--corpus_kind`.
        options: Options of its local/data.sh: a dataclass of `option` fields.
        prepare: Write the data directories.
        places: Its options that run.sh has as well: where the corpus is. Without a value, it is looked for in a folder
            of that name below `--downloads`.
        find_sources: What it is made of.
        estimate: What is known of it before it is prepared.
    """

    name: str
    options: type[DataOptions]
    prepare: Callable[[Any], None]
    places: tuple[str, ...] = ()
    find_sources: Callable[[Any], Sources] = lambda options: Sources()
    estimate: Callable[[Any], SizeEstimate] = lambda options: SizeEstimate()


def _prepare_covost2(options: CovostOptions, title: str = "CoVoST 2") -> None:
    from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
    from speechllama.data.corpus_report import log_reports
    from speechllama.text.filter import TextFilter

    others = {"text", "pseudo_labels", "num_threads", "title"}
    names = {entry.name for entry in dataclasses.fields(CorpusOptions)} - others
    limits = (options.check_characters, options.min_chars_per_second, options.max_chars_per_second)
    taken: dict[str, Any] = {name: getattr(options, name) for name in names}
    taken |= {"text": TextFilter(*limits), "num_threads": options.nj, "title": title}
    taken["pseudo_labels"] = Path(options.pseudo_labels) if options.pseudo_labels else None
    places = _covost2_pairs(options).sources
    if options.all_as:  # for other recipes, which run in other directories
        places = dataclasses.replace(
            places, common_voice=places.common_voice.absolute(), work_dir=places.work_dir.absolute()
        )
    reports = prepare_covost2(places, options.languages, options.datadir, CorpusOptions(**taken))
    log_reports(reports)


def _covost2_pairs(options: CovostOptions) -> Pairs:
    from speechllama.corpora.covost2.files import CorpusPlaces
    from speechllama.corpora.covost2.pairs import Pairs

    common_voice, covost2 = options.places
    places = CorpusPlaces(Path(common_voice), covost2, Path(options.downloads), options.target_lang)
    return Pairs(places, options.languages, options.targets)


def _covost2_sources(options: CovostOptions) -> Sources:
    from speechllama.corpora.covost2.files import ENGLISH

    tables, archives = _covost2_pairs(options).list_sources([ENGLISH] if options.english != "none" else [])
    return Sources(tables, [*archives, *([options.pseudo_labels] if Path(options.pseudo_labels).is_file() else [])])


def _covost2_estimate(options: CovostOptions) -> SizeEstimate:
    estimate = SizeEstimate()
    for language in _covost2_pairs(options).look_up(estimate.faults):
        estimate.num_rows += language.rows
        estimate.bytes_to_unpack += language.bytes_to_unpack
    return estimate


def _prepare_librispeech(options: LibriSpeechOptions) -> None:
    from speechllama.corpora.librispeech.prepare import prepare_librispeech
    from speechllama.data.corpus_report import log_reports

    log_reports(prepare_librispeech(options))


def _librispeech_sources(options: LibriSpeechOptions) -> Sources:
    from speechllama.corpora.librispeech.prepare import find_sources

    return Sources(*find_sources(options))


def _librispeech_estimate(options: LibriSpeechOptions) -> SizeEstimate:
    from speechllama.corpora.librispeech.prepare import SECONDS_EACH, estimate_size

    rows, bytes_to_unpack, faults = estimate_size(options)
    return SizeEstimate(rows, bytes_to_unpack, faults, SECONDS_EACH)


def _prepare_mini(options: MiniOptions) -> None:
    from speechllama.corpora.mini.corpus import make_corpus
    from speechllama.corpora.mini.plan import Settings

    names = {entry.name for entry in dataclasses.fields(Settings)} - {"langs", "target"}
    sizes = {name: getattr(options, name) for name in names}
    settings = Settings(langs=options.languages, target=options.target_lang, **sizes)
    make_corpus(settings, Path(options.downloads), options.nj)
    _prepare_made(options, "Mini CoVoST 2", options.target_lang)


def _prepare_tatoeba(options: TatoebaOptions) -> None:
    from speechllama.corpora.tatoeba.corpus import make_tatoeba
    from speechllama.corpora.tatoeba.plan import TatoebaSettings

    settings = TatoebaSettings(options.languages, options.hours, options.num_dev, options.num_test, options.seed)
    plain_texts = [Path(options.plain_text)] if options.plain_text else []
    make_tatoeba(settings, options.pairs_place, plain_texts, Path(options.downloads), options.nj)
    _prepare_made(options, "Spoken Tatoeba")


def _prepare_made(options: DataOptions, title: str, target: str = DEFAULT_TARGET) -> None:
    """Prepare a generated corpus, which has CoVoST 2's format, as CoVoST 2 is prepared."""
    own = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(DataOptions)}
    _prepare_covost2(CovostOptions(**own, target_lang=target), title)


def _tatoeba_sources(options: TatoebaOptions) -> Sources:
    from speechllama.corpora.tatoeba.pairs import list_pair_files

    files = list_pair_files(options.pairs_place, options.languages)
    if options.plain_text:
        plain = Path(options.plain_text)
        files += [str(path) for path in [plain, *sorted(plain.glob("*.txt"))] if path.is_file()]
    return Sources(archives=files)


def _tatoeba_estimate(options: TatoebaOptions) -> SizeEstimate:
    from speechllama.corpora.tatoeba.pairs import find_pair_files
    from speechllama.data.download import is_url

    faults = []
    if not is_url(options.pairs_place):
        try:
            find_pair_files(options.pairs_place, options.languages, Path(options.downloads))
        except ValueError as error:
            faults.append(str(error))
    if options.plain_text and not Path(options.plain_text).exists():
        faults.append(f"--plain_text {options.plain_text}: no such file or folder")
    return SizeEstimate(faults=faults)


def _form(name: str, options: type[FormatOptions], module: str, has_tables: bool = False) -> Corpus:
    """Make the record of a form of corpora.

    Args:
        name: Its name.
        options: Its options.
        module: Its module, which is imported when it is needed: its package may be an extra.
        has_tables: Whether its files are tables, small enough for checksums, whose rows can be counted.
    """

    def form() -> Any:
        return importlib.import_module(f"speechllama.corpora.formats.{module}")

    def find_sources(given: FormatOptions) -> Sources:
        found = _of_each_split(given, form().find_files, [])
        paths = dict.fromkeys(str(path) for _, files in found for path in files if path.is_file())
        return Sources(tables=[*paths]) if has_tables else Sources(archives=[*paths])

    def estimate(given: FormatOptions) -> SizeEstimate:
        size = SizeEstimate()
        counted = _of_each_split(given, form().count_rows if has_tables else form().find_files, size.faults)
        for set_name, count in counted if has_tables else ():
            size.num_rows[set_name] += count
        return size

    return Corpus(name, options, lambda given: form().prepare(given), ("corpus",), find_sources, estimate)


def _of_each_split(options: FormatOptions, find: Callable[[Any, str], Any], faults: list[str]) -> list[tuple[str, Any]]:
    """Give what is found of each split, with its set; what is missing goes into faults."""
    found = []
    try:
        splits = [(set_name, split) for set_name, names in options.sets.items() for split in names]
    except ValueError as error:
        splits = []
        faults.append(str(error))
    for set_name, split in splits:
        try:
            found.append((set_name, find(options, split)))
        except (ValueError, FileNotFoundError) as error:
            faults.append(str(error))
    return found


CORPORA: Registry[Corpus] = Registry(
    "kind of corpus",
    [
        Corpus(
            "covost2", CovostOptions, _prepare_covost2, ("common_voice", "covost2"), _covost2_sources, _covost2_estimate
        ),
        Corpus(
            "librispeech",
            LibriSpeechOptions,
            _prepare_librispeech,
            ("librispeech",),
            _librispeech_sources,
            _librispeech_estimate,
        ),
        Corpus("mini_covost2", MiniOptions, _prepare_mini),
        Corpus("tatoeba", TatoebaOptions, _prepare_tatoeba, (), _tatoeba_sources, _tatoeba_estimate),
        _form("iwslt", IwsltOptions, "iwslt", has_tables=True),
        _form("tsv", TsvOptions, "tsv", has_tables=True),
        _form("datasets", DatasetsOptions, "hf_datasets"),
        _form("lhotse", LhotseOptions, "lhotse_cuts"),
    ],
)
