"""CoVoST 2's tables read literally, joined and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.bin import prepare_covost2 as entry
from speechllama.data.covost2 import CorpusOptions, normalise_text, prepare_covost2
from speechllama.data.covost2_files import find_language
from speechllama.data.covost2_report import LanguageReport
from speechllama.data.tsv import read_tsv
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"
Row = tuple[str, str, str, str, str]  # clip, client, sentence, translation, split
GOOD: list[Row] = [
    ("c1", "ann", 'Il a dit "oui.', 'He said "yes.', "train"),
    ("c2", "ann", "nan", "NA", "train"),
    ("c3", "bob", "Straße  à\u00a0İstanbul", "null", "train_covost"),
    ("c4", "bob", 'Un "autre.', 'Another".', "dev"),
    ("c5", "eve", "Non !", "No!", "test"),
]


@pytest.fixture()
def make_corpus(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write a corpus in CoVoST 2's format; each clip is a second of noise."""

    def make(rows: list[Row], language: str = "fr", extra: str = "") -> tuple[Path, Path]:
        folder = tmp_path / "cv" / "cv-corpus-x" / language
        (folder / "clips").mkdir(parents=True)
        (tmp_path / "covost2").mkdir(exist_ok=True)
        validated, table = [HEADER], ["path\ttranslation\tsplit"]
        noise = np.random.default_rng(1).normal(0, 0.1, 16000)
        for clip, client, sentence, translation, split in rows:
            validated.append(f"{client}\t{clip}.mp3\t{sentence}\t2\t0\t\t\t\t{language}\t")
            table.append(f"{clip}.mp3\t{translation}\t{split}")
            soundfile.write(folder / "clips" / f"{clip}.mp3", noise, 16000, format="MP3")
        (folder / "validated.tsv").write_text("\n".join(validated) + "\n", encoding="utf-8")
        (tmp_path / f"covost2/covost_v2.{language}_en.tsv").write_text(
            "\n".join(table) + "\n" + extra, encoding="utf-8"
        )
        return tmp_path / "cv", tmp_path / "covost2"

    return make


def drops(output_dir: Path, language: str, split: str) -> dict[str, int]:
    report = json.loads((output_dir / "report.json").read_text())["languages"][language]
    dropped = report["splits"][split]["dropped"] if split else report["dropped"]
    return {reason: entry["count"] for reason, entry in dropped.items()}


def test_quotes_and_na_are_ordinary_text(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prepare_covost2(*make_corpus(GOOD), ["fr"], tmp_path / "data")
    train = tmp_path / "data/train"
    assert sorted(read_table(train / "text").values()) == sorted(['He said "yes.', "NA", "null"])
    assert sorted(read_table(train / "src_text").values()) == sorted(
        ['Il a dit "oui.', "nan", "Straße à İstanbul"]
    )
    assert list(read_table(tmp_path / "data/dev/text").values()) == ['Another".']
    for split in ("train", "dev", "test"):
        assert validate_data_dir(tmp_path / "data" / split) == []
    assert set(read_table(train / "utt2lang").values()) == {"fr"}
    for utterance, speaker in read_table(train / "utt2spk").items():
        assert utterance.startswith(speaker + "-c") and len(speaker) == len("fr_") + 16


def test_bad_rows_are_dropped_and_named(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    rows = [
        *GOOD,
        ("e1", "ann", " ", "Empty.", "train"),
        ("e2", "ann", "Vide.", "", "train"),
        ("e3", "ann", "Sans clip.", "No clip.", "train"),
        ("e4", "ann", "Vide.", "Zero bytes.", "train"),
        ("e5", "ann", "Autre.", "Odd.", "validated"),
        ("e6", "", "Qui ?", "Who?", "dev"),
    ]
    extra = "c1.mp3\tHe said\ttab\ttrain\nc9.mp3\tNot validated.\tdev\nc1.mp3\tAgain.\ttrain\n"
    common_voice, covost2 = make_corpus(rows, extra=extra)
    folder = common_voice / "cv-corpus-x/fr"
    (folder / "clips/e3.mp3").unlink()
    (folder / "clips/e4.mp3").write_bytes(b"")
    with (folder / "validated.tsv").open("a", encoding="utf-8") as stream:
        stream.write("ann\tc1.mp3\tEncore.\t2\t0\t\t\t\tfr\t\nann\tc8.mp3\tcourt\n")
    prepare_covost2(common_voice, covost2, ["fr"], tmp_path / "data")
    assert drops(tmp_path / "data", "fr", "train") == {
        "duplicate clip": 1,
        "empty sentence": 1,
        "empty translation": 1,
        "no such clip": 1,
        "unreadable clip": 1,
    }
    assert drops(tmp_path / "data", "fr", "dev") == {"no speaker": 1, "not in validated.tsv": 1}
    assert drops(tmp_path / "data", "fr", "") == {
        "unknown split": 1,
        "bad row in CoVoST 2's table": 1,
        "duplicate clip in validated.tsv": 1,
        "bad row in validated.tsv": 1,
    }
    report = (tmp_path / "data/report.md").read_text(encoding="utf-8")
    assert "covost_v2.fr_en.tsv:13: 4 fields, expected 3" in report
    assert "validated.tsv:14: 3 fields, expected 10" in report


def test_durations_are_limited(make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    common_voice, covost2 = make_corpus([*GOOD, ("e1", "ann", "Court.", "Short.", "test")])
    clip = common_voice / "cv-corpus-x/fr/clips/e1.mp3"
    soundfile.write(clip, np.zeros(1600), 16000, format="MP3")
    prepare_covost2(common_voice, covost2, ["fr"], tmp_path / "data", CorpusOptions(min_duration=0.5))
    assert drops(tmp_path / "data", "fr", "test") == {"shorter than 0.5 s": 1}
    with pytest.raises(ValueError, match="fr, train, dev, test: no utterance is left"):
        prepare_covost2(common_voice, covost2, ["fr"], tmp_path / "none", CorpusOptions(max_duration=0.5))


def test_a_clip_in_two_splits_leaves_train(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    extra = "c5.mp3\tNo!\ttrain\nc1.mp3\tYes.\tdev\n"
    [report] = prepare_covost2(*make_corpus(GOOD, extra=extra), ["fr"], tmp_path / "data")
    assert report.splits["train"].dropped.counts == {"clip is in test too": 1, "clip is in dev too": 1}
    assert (report.splits["train"].kept, report.splits["dev"].kept, report.splits["test"].kept) == (2, 2, 1)


def test_sentences_of_train_in_test_are_reported_and_kept(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    rows = [*GOOD, ("c6", "ann", "Non !", "No!", "train")]
    [report] = prepare_covost2(*make_corpus(rows), ["fr"], tmp_path / "data")
    assert report.splits["train"].kept == 4
    assert report.warnings() == ["fr: 1 train sentences are in test too"]


def test_names_without_suffix_are_joined(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    common_voice, covost2 = make_corpus(GOOD)
    table = common_voice / "cv-corpus-x/fr/validated.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace(".mp3", ""), encoding="utf-8")
    [report] = prepare_covost2(common_voice, covost2, ["fr"], tmp_path / "data")
    assert sum(split.kept for split in report.splits.values()) == 5


def test_two_runs_give_the_same_bytes(make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    corpus = make_corpus(GOOD)
    contents = []
    for name in ("one", "two"):
        prepare_covost2(*corpus, ["fr"], tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([(str(path.relative_to(tmp_path / name)), path.read_bytes()) for path in files])
    assert contents[0] == contents[1] and len(contents[0]) == 2 + 3 * 7


@pytest.mark.parametrize("name", ["zh", "zh-CN", "zh_cn", "ZH-cn"])
def test_a_language_is_found_by_either_name(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path, name: str
) -> None:
    make_corpus(GOOD, "zh-CN")
    assert find_language(tmp_path / "cv", tmp_path / "covost2", name).name == "zh-CN"


def test_a_language_without_data_is_named(
    make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    common_voice, covost2 = make_corpus(GOOD)
    with pytest.raises(FileNotFoundError, match="'xx': looked for .*xx/validated.tsv; languages there: fr"):
        prepare_covost2(common_voice, covost2, ["fr", "xx"], tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        prepare_covost2(tmp_path / "nowhere", covost2, ["fr"], tmp_path / "data")
    with pytest.raises(ValueError, match="no language is given"):
        prepare_covost2(common_voice, covost2, [], tmp_path / "data")


def test_two_releases_are_ambiguous(make_corpus: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    common_voice, covost2 = make_corpus(GOOD)
    other = common_voice / "cv-corpus-y/fr"
    other.mkdir(parents=True)
    (other / "validated.tsv").write_text(HEADER + "\n")
    with pytest.raises(ValueError, match="'fr' is there 2 times"):
        find_language(common_voice, covost2, "fr")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("path\tsplit\na\ttrain\n")
    with pytest.raises(ValueError, match="x.tsv:1: no column translation; found path, split"):
        list(read_tsv(tmp_path / "x.tsv", ("path", "translation"), []))


def test_bytes_that_are_no_utf8_cost_one_row(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"\xef\xbb\xbfa\tb\r\n1\t\xff\r\n3\t4\r\n\r\n")
    faults: list[str] = []
    assert list(read_tsv(tmp_path / "x.tsv", ("b", "a"), faults)) == [(3, ("4", "3"))]
    assert len(faults) == 1 and "x.tsv:2: not UTF-8" in faults[0]


def test_text_keeps_case_and_punctuation() -> None:
    assert normalise_text(" Straße\u2028I\u0307  e\u0301té ?") == "Straße \u0130 été ?"


def test_counts_are_compared_with_the_published_ones_of_a_full_corpus() -> None:
    report = LanguageReport("fr", "", "")
    for name, count in (("train", 207_374), ("dev", 14_760), ("test", 10_000)):
        report.splits[name].rows = report.splits[name].kept = count
    assert report.warnings() == ["fr test: kept 10,000, CoVoST 2 has about 14,800"]
    report.splits["train"].rows = report.splits["dev"].rows = report.splits["test"].rows = 100
    assert report.warnings() == []


def test_the_real_sample_is_prepared_whole(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "common_voice_sample"
    command = [
        "--common_voice",
        str(sample),
        "--covost2",
        str(sample / "covost2"),
        "--output_dir",
        str(tmp_path),
    ]
    entry.main([*command, "--langs", "fr zh sv-SE ja"])
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["languages"]
    assert list(report) == ["fr", "zh-CN", "sv-SE", "ja"]
    for language in report.values():
        assert [language["splits"][split]["kept"] for split in ("train", "dev", "test")] == [70, 10, 20]
    for split in ("train", "dev", "test"):
        assert validate_data_dir(tmp_path / split) == []
    assert '"Pardon," he repeated.' in read_table(tmp_path / "train/text").values()
