"""The corpora: what stage data of a recipe prepares and what that is made of; to add one, add a record to CORPORA.

    --corpus_kind covost2 -> CORPORA["covost2"] -> options that name its places, files whose change is noticed

A recipe of one's own needs no record: its `local/data.sh` is enough. A record lets stage data notice a corpus that has
changed, and the preflight look at it before hours are spent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.registry import Registry

if TYPE_CHECKING:
    from speechllama.corpora.covost2.files import Sources as CovostPlaces


@dataclass(frozen=True)
class Request:
    """What a run asks of its corpus.

    Attributes:
        langs: Source languages.
        places: Where it lies, by option: a folder or a URL.
        downloads: What is fetched, unpacked or made.
        options: Further options of local/data.sh, as words.
    """

    langs: tuple[str, ...]
    places: Mapping[str, str]
    downloads: str
    options: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the last value of an option of local/data.sh; "" without one."""
        found = ""
        for index, word in enumerate(self.options):
            key, has_value, value = word.replace("-", "_").partition("=")
            if key == f"__{name}":
                found = word.partition("=")[2] if has_value else "".join(self.options[index + 1 : index + 2])
        return found


@dataclass
class Sources:
    """What a corpus is made of, as far as it is there.

    Attributes:
        tables: Files whose content counts: another checksum makes stage data stale.
        archives: Files too large for a checksum, of which name, bytes and time of change count.
    """

    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)

    def stamps(self) -> str:
        """Name, bytes and time of change of each archive, as a setting of stage data."""
        states = [(Path(path).name, Path(path).stat()) for path in self.archives]
        return " ".join(f"{name}:{state.st_size}:{int(state.st_mtime)}" for name, state in states)


@dataclass
class SizeEstimate:
    """What is known of a corpus before it is prepared.

    Attributes:
        num_rows: Utterances of each set.
        bytes_to_unpack: Disk that its archives will take.
        faults: What is missing, ambiguous or damaged.
    """

    num_rows: Counter[str] = field(default_factory=Counter)
    bytes_to_unpack: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Corpus:
    """What there is to know of a corpus.

    Attributes:
        name: What `--corpus_kind` says.
        places: Options of the recipe that say where it lies; without a value, in a folder of that name below
            `--downloads`.
        find_sources: What it is made of.
        estimate: What is known of it before it is prepared.
    """

    name: str
    places: tuple[str, ...] = ()
    find_sources: Callable[[Request], Sources] = lambda request: Sources()
    estimate: Callable[[Request], SizeEstimate] = lambda request: SizeEstimate()


def find_corpus(name: str) -> Corpus:
    """Look a kind of corpus up; "" is one that only its own local/data.sh knows."""
    return CORPORA[name] if name else Corpus("")


def _covost2_sources(request: Request) -> Sources:
    from speechllama.corpora.covost2.files import list_sources

    tables, archives = list_sources(_covost2_places(request), _covost2_languages(request))
    pseudo_labels = request.option("pseudo_labels")
    return Sources(tables, [*archives, *([pseudo_labels] if Path(pseudo_labels).is_file() else [])])


def _covost2_estimate(request: Request) -> SizeEstimate:
    from speechllama.corpora.covost2.files import look_up_languages

    estimate = SizeEstimate()
    for language in look_up_languages(_covost2_places(request), request.langs, estimate.faults):
        estimate.num_rows += language.rows
        estimate.bytes_to_unpack += language.bytes_to_unpack
    return estimate


def _covost2_places(request: Request) -> CovostPlaces:
    from speechllama.corpora.covost2.files import Sources as Places

    return Places(Path(request.places["common_voice"]), request.places["covost2"], Path(request.downloads))


def _covost2_languages(request: Request) -> list[str]:
    """The languages whose files count: English, too, where it is trained on."""
    return [*request.langs, *(["en"] if request.option("english") not in ("", "none") else [])]


def _tatoeba_sources(request: Request) -> Sources:
    from speechllama.corpora.tatoeba.pairs import list_pair_files

    files = list_pair_files(request.option("pairs") or f"{request.downloads}/pairs", request.langs)
    plain = Path(request.option("plain_text") or "")
    if request.option("plain_text"):
        files += [str(path) for path in [plain, *sorted(plain.glob("*.txt"))] if path.is_file()]
    return Sources(archives=files)


CORPORA: Registry[Corpus] = Registry(
    "kind of corpus",
    [
        Corpus("covost2", ("common_voice", "covost2"), _covost2_sources, _covost2_estimate),
        Corpus("mini_covost2"),
        Corpus("tatoeba", (), _tatoeba_sources),
    ],
)
