"""Lhotse's cuts: manifests and shar, talks and clips, fields by option, and cuts that are no part of a file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.corpora.formats.lhotse_cuts import prepare, read_split
from speechllama.corpora.formats.options import LhotseOptions
from speechllama.corpora.own import Unusable, Utterance
from speechllama.data.audio import read_audio
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table
from speechllama.recipe.corpora import CORPORA

MakeClip = Callable[..., Path]
HAS_LHOTSE = importlib.util.find_spec("lhotse") is not None
needs_lhotse = pytest.mark.skipif(not HAS_LHOTSE, reason="needs lhotse: pip install -e '.[lhotse]'")


def make_cuts(talks: list[Path]) -> Any:
    """Cuts of whole talks of 10 s, each with three supervisions and their translations."""
    from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings = [Recording.from_file(talk) for talk in talks]
    supervisions = [
        SupervisionSegment(
            id=f"{recording.id}-{index}",
            recording_id=recording.id,
            start=3.0 * index,
            duration=2.5,
            text=f"fr {index}",
            language="French",
            speaker="ann",
            custom={"translation": f"de {index}", "texts": {"es": f"es {index}"}},
        )
        for recording in recordings
        for index in range(3)
    ]
    return CutSet.from_manifests(
        recordings=RecordingSet.from_recordings(recordings), supervisions=SupervisionSet.from_segments(supervisions)
    )


@pytest.fixture
def corpus(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A manifest of whole talks, one of trimmed cuts, and a shar of those."""
    cuts = make_cuts([make_clip(f"talks/talk{n}.wav", 10) for n in range(2)])
    folder = tmp_path / "manifests"
    (folder / "test").mkdir(parents=True)
    cuts.to_file(folder / "cuts_train.jsonl.gz")
    trimmed = cuts.trim_to_supervisions(keep_overlapping=False)
    trimmed.to_file(folder / "mine_cuts_dev.jsonl")
    trimmed.to_shar(str(folder / "test"), fields={"recording": "flac"}, shard_size=4)
    return folder


def options_of(corpus: Path, **given: Any) -> LhotseOptions:
    """Options of a corpus next to which everything is written."""
    where = {"corpus": str(corpus), "datadir": str(corpus.parent / "data"), "downloads": str(corpus.parent / "down")}
    return LhotseOptions(**{**where, "langs": "fr", "target_lang": "de", **given})


@needs_lhotse
def test_manifests_and_shar_become_data_directories(corpus: Path) -> None:
    options = options_of(corpus)
    prepare(options)
    data = corpus.parent / "data"
    assert [validate_data_dir(data / name) for name in ("train", "dev", "test")] == [[], [], []]
    talks = [str(corpus.parent / f"talks/talk{n}.wav") for n in range(2)]
    for name in ("train", "dev"):  # the same segments, cut by Lhotse or not
        assert [*read_table(data / name / "wav.scp").values()] == talks
        assert [value.split()[1:] for value in read_table(data / name / "segments").values()] == [
            ["0", "2.500"],
            ["3", "5.500"],
            ["6", "8.500"],
        ] * 2
    for name in ("train", "dev", "test"):
        assert [*read_table(data / name / "text")] == [f"ann-talk{n}-{index}" for n in range(2) for index in range(3)]
        assert [*read_table(data / name / "text").values()] == ["de 0", "de 1", "de 2"] * 2
        assert [*read_table(data / name / "src_text").values()] == ["fr 0", "fr 1", "fr 2"] * 2
        assert {*read_table(data / name / "utt2lang").values()} == {"fr"}
    assert not (data / "test/segments").exists()
    places = read_table(data / "test/wav.scp")
    assert all(Path(place).is_relative_to(corpus.parent / "down/extracted") for place in places.values())
    expected = read_audio(talks[0], 3.0, 5.5)
    np.testing.assert_allclose(read_audio(places["ann-talk0-1"]), expected, atol=1e-4)  # 16-bit flac of 16-bit wav
    assert CORPORA["lhotse"].estimate(options).faults == []
    assert len(CORPORA["lhotse"].find_sources(options).archives) == 6


@needs_lhotse
def test_the_corpus_is_only_read(corpus: Path) -> None:
    def state() -> dict[str, tuple[int, int, bytes]]:
        """Modification time, size and bytes of every file, and the times of folders."""
        found = {}
        for folder in (corpus, corpus.parent / "talks"):
            for path in (folder, *folder.rglob("*")):
                facts = path.stat()
                size, content = (facts.st_size, path.read_bytes()) if path.is_file() else (0, b"")
                found[str(path)] = (facts.st_mtime_ns, size, content)
        return found

    before, options = state(), options_of(corpus)
    assert len(before) >= 9  # 2 manifests, 4 files of shar, 2 talks, their folders
    assert CORPORA["lhotse"].estimate(options).faults == []
    CORPORA["lhotse"].find_sources(options)
    prepare(options)
    for split in ("train", "dev", "test"):
        assert [*read_split(options, split)]
    assert state() == before


@needs_lhotse
def test_fields_are_chosen_by_option(corpus: Path) -> None:
    rows = [*read_split(options_of(corpus, text_column="texts.es", lang_column="none", speaker_column=""), "dev")]
    assert [(row.translation, row.speaker) for row in rows[:2] if isinstance(row, Utterance)] == [
        ("es 0", "talk0"),
        ("es 1", "talk0"),
    ]
    names = [row.name for row in read_split(options_of(corpus, id_column=""), "train") if isinstance(row, Utterance)]
    assert names == [f"talk{n}_{3 * n + index:06d}" for n in range(2) for index in range(1, 4)]
    with pytest.raises(ValueError, match=r"no such column: --text_column en; found .*text, texts, translation"):
        [*read_split(options_of(corpus, text_column="en"), "dev")]
    rows = [*read_split(options_of(corpus, langs="de es"), "dev")]
    assert {(row.reason, row.is_fault) for row in rows if isinstance(row, Unusable)} == {
        ("language that is not in --langs", False)
    }


@needs_lhotse
def test_a_cut_without_supervisions_is_an_utterance_without_texts(corpus: Path) -> None:
    from lhotse import CutSet

    cuts = CutSet.from_file(corpus / "mine_cuts_dev.jsonl")
    cuts.map(lambda cut: cut.drop_supervisions()).to_file(corpus / "blind.jsonl.gz")
    prepare(options_of(corpus, test="blind"))
    assert {*read_table(corpus.parent / "data/test/text").values()} == {""}
    assert len(read_table(corpus.parent / "data/test/segments")) == 6


@needs_lhotse
def test_cuts_that_are_no_part_of_a_file_are_counted_with_the_reason(corpus: Path, make_clip: MakeClip) -> None:
    from lhotse import CutSet, MonoCut, Recording

    cuts_of_dev: list[Any] = [*CutSet.from_file(corpus / "mine_cuts_dev.jsonl")]
    first, second = cuts_of_dev[:2]
    stereo = Recording.from_file(make_clip("talks/stereo.wav", 2, 2))
    cuts = [
        first.mix(second),
        first.perturb_speed(1.1),
        MonoCut("left", 0, 1, channel=0, recording=stereo),
        first.resample(8000),
    ]
    CutSet.from_cuts(cuts).to_file(corpus / "odd.jsonl")
    rows = [*read_split(options_of(corpus), "odd")]
    found = [row.where.partition("odd.jsonl:")[2] for row in rows if isinstance(row, Unusable)]
    assert [text[0] for text in found] == ["1", "2", "3"]
    assert "MixedCut without a recording of its own" in found[0] and "(Speed)" in found[1]
    assert "channel 0 of 2" in found[2]
    assert isinstance(rows[3], Utterance) and rows[3].translation == "de 0"


@needs_lhotse
def test_sources_count_from_the_manifests_folder(corpus: Path) -> None:
    text = (corpus / "mine_cuts_dev.jsonl").read_text().replace(str(corpus.parent), "..")
    (corpus / "mine_cuts_dev.jsonl").write_text(text)
    rows = [*read_split(options_of(corpus), "dev")]
    assert all(isinstance(row, Utterance) and Path(row.recording).is_file() for row in rows)


@needs_lhotse
def test_what_is_missing_or_damaged_is_told(corpus: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no cuts of valid; expected valid\.jsonl\.gz, valid\.jsonl, cuts_valid"
    ):
        [*read_split(options_of(corpus), "valid")]
    (corpus / "bad.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl: lhotse cannot read it"):
        [*read_split(options_of(corpus), "bad")]
    report = options_of(corpus, test="valid")
    assert ["no cuts of valid" in fault for fault in CORPORA["lhotse"].estimate(report).faults] == [True]


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lhotse", None)  # the import fails, as without it
    with pytest.raises(ValueError, match=r"needs the package lhotse: pip install -e '\.\[lhotse\]'"):
        prepare(options_of(tmp_path))
