"""LibriSpeech's tree -> data directories: divisions, texts, every fault counted and named."""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllama.bin import prepare_data
from speechllama.corpora.librispeech.divisions import DEV_SPEAKERS, DIVISIONS, TEST_SPEAKERS, Division
from speechllama.corpora.librispeech.options import LibriSpeechOptions
from speechllama.corpora.librispeech.prepare import prepare_librispeech
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table, write_table
from speechllama.options import UsageError, parse
from speechllama.recipe.corpora import CORPORA

TEXTS = {
    "19-7-0000": "IT'S A DOG",
    "19-7-0001": "THE OLD MAN SLEEPS",
    "1970-8-0000": "A BIG TREE",
    "226-9-0000": "HE SEES THE SEA",
    "3242-10-0000": "WE RUN",
}
OWN: dict[str, Any] = {"train_parts": "train-clean-5", "dev_speakers": "226", "test_speakers": "3242"}
SUFFIXES = (".flac", ".ogg", ".opus", ".wav", ".flac")  # one utterance each


class Tree:
    """A small LibriSpeech below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def chapter(self, utterance: str, part: str = "train-clean-5") -> Path:
        speaker, chapter, _ = utterance.split("-")
        return self.root / "LibriSpeech" / part / speaker / chapter

    def table(self, utterance: str, part: str = "train-clean-5") -> Path:
        speaker, chapter, _ = utterance.split("-")
        return self.chapter(utterance, part) / f"{speaker}-{chapter}.trans.txt"

    def add(
        self, utterance: str, text: str, part: str = "train-clean-5", suffix: str = ".flac", seconds: float = 1.0
    ) -> Path:
        """Write noise, and the line of its transcript; returns the recording."""
        folder = self.chapter(utterance, part)
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(1).normal(0, 0.1, int(16000 * seconds))
        kind: dict[str, Any] = {".opus": {"format": "OGG", "subtype": "OPUS"}, ".ogg": {"format": "OGG"}}
        soundfile.write(folder / f"{utterance}{suffix}", noise, 16000, **kind.get(suffix, {}))
        with self.table(utterance, part).open("a", encoding="utf-8") as stream:
            stream.write(f"{utterance} {text}\n")
        return folder / f"{utterance}{suffix}"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Four speakers of one part, with a recording of every kind."""
    made = Tree(tmp_path / "corpus")
    for (name, text), suffix in zip(TEXTS.items(), SUFFIXES, strict=True):
        made.add(name, text, suffix=suffix)
    return made


@pytest.fixture
def prepare(tree: Tree, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Prepare the tree with further options; return what report.json says of each part."""

    def run(**options: Any) -> dict[str, Any]:
        own = {} if "division" in options else OWN
        places = {"librispeech": str(tree.root), "datadir": str(tmp_path / "data"), "downloads": str(tmp_path / "get")}
        prepare_librispeech(LibriSpeechOptions(**{**places, **own, **options}))
        return dict(json.loads((tmp_path / "data/report.json").read_text())["languages"])

    return run


def test_the_sets_are_speakers_and_their_tables_are_valid(prepare: Callable[..., Any], tmp_path: Path) -> None:
    report = prepare()["train-clean-5"]
    expected = {"train": ["19-7-0000", "19-7-0001", "1970-8-0000"], "dev": ["226-9-0000"], "test": ["3242-10-0000"]}
    for name, utterances in expected.items():
        folder = tmp_path / "data" / name
        assert validate_data_dir(folder) == []
        assert list(read_table(folder / "text")) == utterances
        assert (
            read_table(folder / "text")
            == read_table(folder / "src_text")
            == {utterance: TEXTS[utterance].lower() for utterance in utterances}
        )
        assert set(read_table(folder / "utt2lang").values()) == {"en"}
        assert read_table(folder / "utt2spk") == {utterance: utterance.split("-")[0] for utterance in utterances}
        assert report["splits"][name]["rows"] == report["splits"][name]["kept"] == len(utterances)
    assert read_table(tmp_path / "data/train/utt2dur")["19-7-0000"] == "1.000"
    assert report["splits"]["train"]["speakers"] == 2 and report["rows"] == 5


def test_the_case_stays_or_texts_come_from_a_table(prepare: Callable[..., Any], tmp_path: Path) -> None:
    prepare(case="kept")
    assert read_table(tmp_path / "data/test/text") == {"3242-10-0000": "WE RUN"}
    restored = {name: text.capitalize() + "." for name, text in TEXTS.items()}
    del restored["19-7-0001"]
    write_table(tmp_path / "restored", {**restored, "1-1-0000": "Of nobody."})
    report = prepare(texts=str(tmp_path / "restored"))["train-clean-5"]
    assert read_table(tmp_path / "data/train/src_text") == {"19-7-0000": "It's a dog.", "1970-8-0000": "A big tree."}
    (drop,) = report["splits"]["train"]["dropped"].items()
    assert drop == (
        "not in the table of texts",
        {"count": 1, "examples": [f"{tmp_path}/restored: no text of 19-7-0001"]},
    )


def test_every_fault_is_counted_and_named(tree: Tree, prepare: Callable[..., Any]) -> None:
    tree.add("19-7-0002", "NO AUDIO").unlink()
    tree.add("19-7-0003", "")
    tree.add("19-7-0004", "BROKEN").write_bytes(b"no flac")
    second = tree.add("19-7-0000", "TWICE", suffix=".wav")
    with tree.table("19-7-0000").open("ab") as stream:
        stream.write(b"19-7-0005 \xff\xfe\n\n226-9-0007 OF ANOTHER\n")
    lonely = tree.add("226-9-0001", "X", suffix=".wav")
    tree.table("226-9-0000").write_text(f"226-9-0000 {TEXTS['226-9-0000']}\n")
    tree.add("1970-8-0001", "TOO LONG", seconds=31.0)
    report = prepare(max_bad_share=1.0)["train-clean-5"]["splits"]
    table = tree.table("19-7-0000")
    found = {
        (name, reason): (drop["count"], drop["examples"][0])
        for name in ("train", "dev", "test")
        for reason, drop in report[name]["dropped"].items()
    }
    assert found == {
        ("train", "second recording of an utterance"): (1, f"{second}: {second.with_suffix('.flac')} is read"),
        ("train", "transcript without audio"): (1, f"{table}:3: 19-7-0002"),
        ("train", "empty text"): (1, f"{table}:4: 19-7-0003"),
        ("train", "duplicate utterance"): (1, f"{table}:6: 19-7-0000"),
        ("train", "line that is no UTF-8"): (1, f"{table}:7: b'19-7-0005 \\xff\\xfe' (invalid start byte)"),
        ("train", "transcript of another speaker or chapter"): (
            1,
            f"{table}:9: '226-9-0007', expected 19-7-NUMBER",
        ),
        ("train", "unreadable audio"): found[("train", "unreadable audio")],
        ("train", "longer than 30 s"): found[("train", "longer than 30 s")],
        ("dev", "audio without transcript"): (1, f"{lonely}: no line of 226-9-0001 in the *.trans.txt next to it"),
    }
    assert "19-7-0004.flac: no audio, but text" in found[("train", "unreadable audio")][1]
    assert "1970-8-0001.flac: 31.000 s" in found[("train", "longer than 30 s")][1]
    counts = {
        name: split["kept"] + sum(drop["count"] for drop in split["dropped"].values()) for name, split in report.items()
    }
    assert counts == {name: split["rows"] for name, split in report.items()}


def test_a_part_with_too_many_faults_is_refused(tree: Tree, prepare: Callable[..., Any], tmp_path: Path) -> None:
    for number in range(2):
        tree.add(f"19-7-001{number}", "GONE").unlink()
    message = r"train-clean-5: 2 of 7 utterances are faulty, at most 5% may be \(--max_bad_share\).*19-7-0010"
    with pytest.raises(ValueError, match=message.replace(".*", r"(.|\n)*")):
        prepare()
    assert (tmp_path / "data/report.md").is_file() and not (tmp_path / "data/train/text").exists()


def test_parts_are_divided_and_further_ones_have_a_directory(
    tree: Tree, prepare: Callable[..., Any], tmp_path: Path
) -> None:
    for speaker, part in (("84", "dev-clean"), ("61", "test-clean"), ("367", "test-other")):
        tree.add(f"{speaker}-1-0000", "OF ANOTHER PART", part)
    report = prepare(
        train_parts="train-clean-5", dev_parts="dev-clean", test_parts="test-clean", dev_speakers="", test_speakers="",
        more_parts="test-other",
    )  # fmt: skip
    assert list(read_table(tmp_path / "data/dev/text")) == ["84-1-0000"]
    assert list(read_table(tmp_path / "data/test-other/text")) == ["367-1-0000"]
    assert validate_data_dir(tmp_path / "data/test-other") == []
    assert list(report["test-other"]["splits"]) == ["test-other"] and len(read_table(tmp_path / "data/train/text")) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"division": "100"}, "2 missing"),
        ({"test_speakers": "3242,99"}, "speaker 99 is held out, but not in train-clean-5"),
        ({"test_speakers": "226,3242"}, "speaker 226 is in dev and in test; expected in one of them"),
        ({"test_speakers": ""}, "nothing is test; an own division needs --test_parts or --test_speakers"),
        ({"train_parts": "train-clean-5,train-clean-5"}, "part 'train-clean-5' is named 2 times"),
        ({"more_parts": "test"}, "part 'test': the name of a set; --more_parts needs another"),
        ({"texts": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_wrong_division_is_refused(
    prepare: Callable[..., Any], options: dict[str, str], message: str, tree: Tree
) -> None:
    if options == {"division": "100"}:
        message = rf"3 faults of the corpus:(.|\n)*part 'train-clean-100': looked for {tree.root}/\[LibriSpeech/\]"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(**options)


def test_a_speaker_of_training_is_in_no_other_set(tree: Tree, prepare: Callable[..., Any]) -> None:
    tree.add("19-8-0000", "THE SAME SPEAKER", "dev-clean")
    with pytest.raises(ValueError, match=r"speaker 19 is in dev, train; a speaker of training is in no other set"):
        prepare(train_parts="train-clean-5", dev_parts="dev-clean", dev_speakers="", test_speakers="3242")


def test_an_utterance_that_is_in_two_parts_is_read_once(tree: Tree, prepare: Callable[..., Any]) -> None:
    for part in ("dev-clean", "dev-other"):
        tree.add("84-1-0000", "TWICE", part)
    report = prepare(dev_parts="dev-clean,dev-other", dev_speakers="", max_bad_share=1.0)
    (drop,) = report["dev-other"]["splits"]["dev"]["dropped"].items()
    assert drop[0] == "duplicate utterance" and "dev-clean/84/1/84-1-0000.flac is read" in drop[1]["examples"][0]


def pack(tree: Tree, folder: Path) -> Path:
    """The tree's part as its archive, as the corpus is published; the tree is gone."""
    folder.mkdir()
    (tree.root / "LibriSpeech/README.TXT").write_text("x")
    with tarfile.open(folder / "train-clean-5.tar.gz", "w:gz") as tar:
        tar.add(tree.root / "LibriSpeech/README.TXT", "LibriSpeech/README.TXT")
        tar.add(tree.root / "LibriSpeech/train-clean-5", "LibriSpeech/train-clean-5")
    return folder


def test_archives_are_unpacked_from_a_folder_or_a_url(tree: Tree, prepare: Callable[..., Any], tmp_path: Path) -> None:
    archives = pack(tree, tmp_path / "archives")
    handler = partial(SimpleHTTPRequestHandler, directory=str(archives))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        for number, place in enumerate((str(archives), f"http://127.0.0.1:{server.server_port}/")):
            report = prepare(librispeech=place, downloads=str(tmp_path / f"get{number}"))
            assert report["train-clean-5"]["rows"] == 5
            assert (tmp_path / f"get{number}/unpacked/LibriSpeech/train-clean-5/19/7/19-7.trans.txt").is_file()
    finally:
        server.shutdown()
    assert prepare(librispeech=place, downloads=str(tmp_path / "get1"))["train-clean-5"]["rows"] == 5  # no server


def test_a_file_that_is_not_the_archive_is_refused(prepare: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "x").write_text("x")
    with tarfile.open(folder / "train-clean-5.tar.gz", "w:gz") as tar:
        tar.add(folder / "x", "Other/x")
    with pytest.raises(
        ValueError, match=r"begins with Other/x, expected LibriSpeech/...; it is not the archive of tra"
    ):
        prepare(librispeech=str(folder))


def test_the_folder_of_the_part_itself_is_a_place_too(tree: Tree, prepare: Callable[..., Any]) -> None:
    for place in ("LibriSpeech", "LibriSpeech/train-clean-5"):
        assert prepare(librispeech=str(tree.root / place))["train-clean-5"]["rows"] == 5


def test_the_sources_and_the_estimate_are_known_before_anything_is_read(tree: Tree, tmp_path: Path) -> None:
    record = CORPORA["librispeech"]
    options = LibriSpeechOptions(librispeech=str(tree.root), downloads=str(tmp_path / "get"), **OWN)
    tables = record.find_sources(options).tables
    assert [Path(table).name for table in tables] == [
        "19-7.trans.txt",
        "1970-8.trans.txt",
        "226-9.trans.txt",
        "3242-10.trans.txt",
    ]
    estimate = record.estimate(options)
    assert estimate.num_rows == {"train": 3, "dev": 1, "test": 1} and estimate.faults == []
    archives = pack(tree, tmp_path / "archives")
    packed = LibriSpeechOptions(librispeech=str(archives), downloads=str(tmp_path / "get"), **OWN)
    assert [Path(path).name for path in record.find_sources(packed).archives] == ["train-clean-5.tar.gz"]
    estimate = record.estimate(packed)
    assert estimate.num_rows["train"] == 1519 and estimate.bytes_to_unpack > 0
    faults = record.estimate(LibriSpeechOptions(librispeech=str(tmp_path), downloads=str(tmp_path / "get"))).faults
    assert len(faults) == 3 and "part 'dev-clean': looked for" in faults[1]
    remote = record.estimate(LibriSpeechOptions(librispeech="https://example.org", downloads=str(tmp_path / "get")))
    assert remote.faults == [] and remote.num_rows == {"train": 28539, "dev": 2703, "test": 2620}


def test_divisions_have_no_part_and_no_speaker_twice() -> None:
    for division in DIVISIONS.values():
        assert division.find_faults() == [], division.name
    assert parse(LibriSpeechOptions, []).chosen_division == DIVISIONS["100"]
    own = parse(LibriSpeechOptions, ["--train_parts", "a,b", "--division", "960"]).chosen_division
    assert own == Division("own", ("a", "b"))
    with pytest.raises(UsageError, match="--division: unknown value '10', expected one of sample, mini, 100, 460, 960"):
        parse(LibriSpeechOptions, ["--division", "10"])


def test_the_sample_is_divided_by_its_speakers(shared_data: Path, tmp_path: Path) -> None:
    place = str(shared_data / "librispeech_sample")
    words = ["librispeech", "--librispeech", place, "--division", "sample", "--datadir", str(tmp_path)]
    assert prepare_data.main([*words, "--nj", "1"]) == 0
    speakers = {name: set(read_table(tmp_path / name / "utt2spk").values()) for name in ("train", "dev", "test")}
    assert (speakers["dev"], speakers["test"]) == ({*DEV_SPEAKERS}, {*TEST_SPEAKERS})
    assert len(speakers["train"]) == 18 and not speakers["train"] & (speakers["dev"] | speakers["test"])
    counts = {name: len(read_table(tmp_path / name / "text")) for name in speakers}
    assert counts == {"train": 1027, "dev": 76, "test": 144}
    assert all(path.endswith(".flac") for path in read_table(tmp_path / "test/wav.scp").values())
    for name in speakers:
        assert validate_data_dir(tmp_path / name) == []
