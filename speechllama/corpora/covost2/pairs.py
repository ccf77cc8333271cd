"""The language pairs of a run: several languages into one, or English into several -> the files of each pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechllama.corpora.covost2.archives import clips_of
from speechllama.corpora.covost2.files import (
    ENGLISH,
    CorpusPlaces,
    Language,
    LanguageSize,
    collecting,
    corpus_name,
    find_languages,
    list_sources,
    look_up_languages,
)
from speechllama.corpora.covost2.rows import Clip
from speechllama.data.clips import clip_name
from speechllama.data.corpus_report import SourceReport
from speechllama.data.tsv import read_tsv
from speechllama.faults import InputError, raise_all

# CoVoST 2's En->X languages by the names of its tables.
COVOST2_TARGETS = "ar ca cy de et fa id ja lv mn sl sv-SE ta tr zh-CN".split()


@dataclass(frozen=True)
class Pairs:
    """The language pairs of a run.

    Attributes:
        sources: Where the corpora are, and the target language where there is one.
        languages: Source languages, by names of either corpus.
        targets: What English is translated into, in place of `languages`; () for several languages into one.
    """

    sources: CorpusPlaces
    languages: Sequence[str]
    targets: tuple[str, ...] = ()

    def by_target(self) -> Iterator[CorpusPlaces]:
        """The places of each target language, each language once."""
        for name in sorted({corpus_name(target) for target in self.targets}, key=lambda name: f"{name}_".encode()):
            yield replace(self.sources, target=name)

    def find(self, more_clips: Callable[[str], set[str]], english: str) -> list[Language]:
        """Find the files of every pair; see `find_languages`.

        A recording's archive is unpacked for all tables together: CoVoST 2 translates the same clips into every
        language, but a part of its tables may not.
        """
        if not self.targets:
            return find_languages(self.sources, self.languages, more_clips, english)

        def find_all(clips: set[str]) -> list[Language]:
            found, faults = [], list[str]()
            for places in self.by_target():
                own: list[str] = []
                with collecting(own):
                    [place] = find_languages(places, [ENGLISH], lambda name: more_clips(name) | clips, english)
                    found.append(replace(place, target=places.target))
                faults += [f"{fault}{_offered(places.target)}" for fault in own]
            raise_all(faults, "corpus")
            return found

        found = find_all(set())
        wanted = [clips_of(place.table) for place in found if place.table is not None]
        union = set[str]().union(*wanted)
        return found if all(clips == union for clips in wanted) else find_all(union)

    def look_up(self, faults: list[str]) -> list[LanguageSize]:
        """Look for the files of every pair before a run; see `look_up_languages`."""
        if not self.targets:
            return look_up_languages(self.sources, self.languages, faults)
        found: list[LanguageSize] = []
        for places in self.by_target():
            own: list[str] = []
            [size] = look_up_languages(places, [ENGLISH], own)
            faults += [f"{fault}{_offered(places.target)}" for fault in own]
            found.append(replace(size, bytes_to_unpack=0.0) if found else size)  # the same recordings
        return found

    def list_sources(self, more: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """List what the corpora are made of; see `list_sources`."""
        if not self.targets:
            return list_sources(self.sources, [*self.languages, *more])
        listed = [list_sources(places, [ENGLISH]) for places in self.by_target()]
        tables, archives = (list(dict.fromkeys(path for each in listed for path in each[kind])) for kind in (0, 1))
        return tables, archives


def held_out_elsewhere(places: Sequence[Language]) -> dict[str, str]:
    """Give the clips that are in dev or test of a pair, with the pair; of English into several languages only.

    CoVoST 2 has the same splits for every target, but other tables need not: training into one language should not hold
    what is tested in another.
    """
    found: dict[str, str] = {}
    for place in places if len(places) > 1 and places[0].target else ():
        assert place.table is not None
        for _, (path, split) in read_tsv(place.table, ("path", "split"), [], escaped=True):
            if split.strip() in ("dev", "test"):
                found.setdefault(clip_name(path), f"{split.strip()} of {place.label}")
    return found


def drop_tested(clips: list[Clip], place: Language, report: SourceReport, elsewhere: Mapping[str, str]) -> list[Clip]:
    """Leave out training clips that are in dev or test of English into another language; see `held_out_elsewhere`."""
    kept = []
    for clip in clips:
        tested = elsewhere.get(clip_name(Path(clip.audio).name), "")
        if tested and not tested.endswith(f" {place.label}"):
            report.splits["train"].dropped.add("clip is in dev or test of another target", f"{clip.audio}: {tested}")
        else:
            kept.append(clip)
    return kept


def check_targets(targets: Sequence[str], english: str, pseudo_labels: Path | None) -> None:
    """Refuse what does not say into which language, where English is translated.

    Args:
        targets: What it is translated into; () for several languages into one.
        english: The table of English transcripts, or "none".
        pseudo_labels: Table of machine-translated targets.

    Raises:
        ValueError: English transcripts are wanted as targets, or pseudo-labels of several languages.
    """
    if targets and english != "none":
        raise InputError(f"--english {english} has English transcripts as targets; --direction en_x has none")
    if len(targets) > 1 and pseudo_labels is not None:
        raise InputError(
            f"{pseudo_labels}: no column says into which of {', '.join(targets)} its lines are translated; with "
            "--pseudo_labels, give one --target_lang"
        )


def _offered(target: str) -> str:
    """What to say of a language that CoVoST 2 does not translate English into."""
    return "" if target in COVOST2_TARGETS else f"; CoVoST 2 translates English into {', '.join(COVOST2_TARGETS)}"
