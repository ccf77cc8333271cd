"""CoVoST 2 from English: English clips with a translation into one or several languages."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from speechllama.bin import prepare_data
from speechllama.corpora.covost2.files import CorpusPlaces
from speechllama.corpora.covost2.options import CovostOptions
from speechllama.corpora.covost2.pairs import COVOST2_TARGETS, Pairs
from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
from speechllama.corpora.covost2.published import published_counts
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table
from speechllama.recipe.corpora import CORPORA
from speechllama.text.targets import TARGETS
from test.corpora.conftest import MakeCorpus, Row

ENGLISH: list[Row] = [
    ("c1", "ann", "Hello there.", "", "train"),
    ("c2", "ann", "How are you?", "", "train"),
    ("c3", "bob", "The cat sleeps.", "", "dev"),
    ("c4", "eve", "Good night.", "", "test"),
]
GERMAN = ["Hallo.", "Wie geht es dir?", "Die Katze schläft.", "Gute Nacht."]
CHINESE = ["你好。", "你好吗？", "猫在睡觉。", "晚安。"]


@pytest.fixture
def english(make_corpus: MakeCorpus, tmp_path: Path) -> CorpusPlaces:
    """Four English clips, with tables of German and Chinese."""
    places = make_corpus(ENGLISH, "en")
    for target, texts in (("de", GERMAN), ("zh-CN", CHINESE)):
        write_target(tmp_path, target, texts)
    return places


def write_target(tmp_path: Path, target: str, texts: list[str], splits: str = "train train dev test") -> None:
    """Write a table of translations of the four clips."""
    rows = zip(ENGLISH, texts, splits.split(), strict=True)
    lines = ["path\ttranslation\tsplit", *(f"{row[0]}.mp3\t{text}\t{split}" for row, text, split in rows)]
    (tmp_path / f"covost2/covost_v2.en_{target}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_english_is_prepared_into_several_languages_at_once(english: CorpusPlaces, tmp_path: Path) -> None:
    reports = prepare_covost2(english, ["x"], tmp_path / "data", CorpusOptions(targets=("zh", "de", "zh-CN")))
    assert [report.name for report in reports] == ["en-de", "en-zh-CN"]
    for split, count in (("train", 4), ("dev", 2), ("test", 2)):
        folder = tmp_path / "data" / split
        assert validate_data_dir(folder) == []
        targets = read_table(folder / "utt2target")
        assert len(targets) == count and set(targets.values()) == {"de", "zh-CN"}
        assert set(read_table(folder / "utt2lang").values()) == {"en"}
        for utterance, text in read_table(folder / "text").items():
            assert text in (GERMAN if targets[utterance] == "de" else CHINESE)
            assert utterance.startswith(f"en-{targets[utterance]}_")
    assert len(set(read_table(tmp_path / "data/train/src_text").values())) == 2


def test_each_language_has_its_own_script(english: CorpusPlaces, tmp_path: Path) -> None:
    write_target(tmp_path, "de", ["你好。", *GERMAN[1:]])
    german, chinese = prepare_covost2(english, ["x"], tmp_path / "data", CorpusOptions(targets=("de", "zh-CN")))
    assert german.splits["train"].dropped.counts == {"translation in another script": 1}
    assert chinese.splits["train"].kept == 2


def test_no_training_clip_is_tested_in_another_language(english: CorpusPlaces, tmp_path: Path) -> None:
    write_target(tmp_path, "de", GERMAN, splits="train test dev test")
    options = CorpusOptions(targets=("de", "zh-CN"))
    german, chinese = prepare_covost2(english, ["x"], tmp_path / "data", options)
    assert chinese.splits["train"].dropped.counts == {"clip is in dev or test of another target": 1}
    assert (german.splits["test"].kept, chinese.splits["test"].kept) == (2, 1)


def test_an_archive_is_unpacked_for_all_tables_together(english: CorpusPlaces, tmp_path: Path) -> None:
    folder = english.common_voice / "cv-corpus-x/en"
    with tarfile.open(english.common_voice / "en.tar.gz", "w:gz") as tar:
        tar.add(folder, "cv-corpus-x/en")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    path = tmp_path / "covost2/covost_v2.en_de.tsv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[:-1]), encoding="utf-8")
    faults: list[str] = []
    pairs = Pairs(english, [], ("de", "zh-CN"))
    sizes = pairs.look_up(faults)
    assert faults == [] and sizes[0].bytes_to_unpack > 0 and sizes[1].bytes_to_unpack == 0
    first, second = pairs.find(lambda name: set(), "validated")
    assert (first.folder, first.target, second.target) == (second.folder, "de", "zh-CN")
    assert len(list((first.folder / "clips").iterdir())) == 4
    tables, archives = pairs.list_sources()
    assert [Path(table).name for table in tables] == ["covost_v2.en_de.tsv", "covost_v2.en_zh-CN.tsv"]
    assert [Path(archive).name for archive in archives] == ["en.tar.gz"]


def test_the_direction_says_what_languages_are(tmp_path: Path) -> None:
    assert CovostOptions(langs="de fr").targets == ()
    assert CovostOptions(langs="de ja", direction="en_x").targets == ("de", "ja")
    assert CovostOptions(langs="de ja", direction="en_x", target_lang="zh-CN").targets == ("zh-CN",)
    assert all(target in TARGETS for target in COVOST2_TARGETS) and len(COVOST2_TARGETS) == 15
    assert published_counts("en", "ta") == {"train": 289_430, "dev": 15_531, "test": 15_531}
    assert published_counts("en", "fr") is None and published_counts("fr", "de") is None


def test_what_covost2_does_not_translate_is_told_with_what_it_does(english: CorpusPlaces, tmp_path: Path) -> None:
    options = CovostOptions(
        langs="de fr", direction="en_x", common_voice=str(english.common_voice), covost2=english.covost2
    )
    faults = CORPORA["covost2"].estimate(options).faults
    assert len(faults) == 1 and "covost_v2.en_fr.tsv" in faults[0]
    assert faults[0].endswith(
        "CoVoST 2 translates English into ar, ca, cy, de, et, fa, id, ja, lv, mn, sl, sv-SE, ta, tr, zh-CN"
    )
    with pytest.raises(ValueError, match="--direction en_x has none"):
        prepare_covost2(english, ["x"], tmp_path / "no", CorpusOptions(targets=("de",), english="train"))
    labels = tmp_path / "labels.tsv"
    labels.write_text("lang\tpath\tsentence\ttranslation\n")
    with pytest.raises(ValueError, match="no column says into which of de, ja its lines are translated"):
        prepare_covost2(english, ["x"], tmp_path / "no", CorpusOptions(targets=("de", "ja"), pseudo_labels=labels))


def write_english_tables(sample: Path, folder: Path, num_clips: int | None = None) -> None:
    """Write tables of German and Japanese for Common Voice's English clips, a fifth of them for dev and for test each.

    The translations are made up. Give `num_clips` to take only the first ones.
    """
    with (sample / "cv-corpus-6.1-sample/en/validated.tsv").open(encoding="utf-8") as stream:
        header = stream.readline().rstrip("\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\n").split("\t"), strict=True)) for line in stream][:num_clips]
    folder.mkdir()
    for target, text in (("de", "Ein Satz, den dieser Test schreibt."), ("ja", "これはテストの文です。")):
        lines = ["path\ttranslation\tsplit"]
        splits = ["test", "dev", "train", "train", "train"] * len(rows)
        named = zip(rows, splits, strict=False)
        lines += [f"{row['path']}\t{text} {number}\t{split}" for number, (row, split) in enumerate(named)]
        (folder / f"covost_v2.en_{target}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_real_english_clips_go_into_two_languages(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "common_voice_sample"
    write_english_tables(sample, tmp_path / "tables")
    places = ["--common_voice", str(sample), "--covost2", str(tmp_path / "tables"), "--datadir", str(tmp_path / "data")]
    prepare_data.main(["covost2", *places, "--direction", "en_x", "--langs", "de ja", "--drop_overlap", "false"])
    report = json.loads((tmp_path / "data/report.json").read_text(encoding="utf-8"))["languages"]
    assert list(report) == ["en-de", "en-ja"]
    assert report["en-de"]["splits"]["test"]["kept"] == report["en-ja"]["splits"]["test"]["kept"] == 20
    assert all(validate_data_dir(tmp_path / "data" / split) == [] for split in ("train", "dev", "test"))
    assert replace(CorpusPlaces(sample, "", tmp_path), target="ja").has_table("en")
