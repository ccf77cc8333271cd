"""CoVoST 2's tables joined with Common Voice, judged and reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllama.bin import prepare_data
from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
from speechllama.corpora.covost2.published import published_counts
from speechllama.data.corpus_report import SourceReport
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table
from speechllama.text.filter import TextFilter
from test.corpora.conftest import GOOD, MakeCorpus

LENIENT = CorpusOptions(max_bad_share=1.0)


def drops(output_dir: Path, language: str, split: str) -> dict[str, int]:
    report = json.loads((output_dir / "report.json").read_text())["languages"][language]
    dropped = report["splits"][split]["dropped"] if split else report["dropped"]
    return {reason: entry["count"] for reason, entry in dropped.items()}


def test_quotes_and_na_are_ordinary_text(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    prepare_covost2(make_corpus(GOOD), ["fr"], tmp_path / "data")
    train = tmp_path / "data/train"
    assert sorted(read_table(train / "text").values()) == sorted(['He said "yes.', "NA", "null"])
    assert sorted(read_table(train / "src_text").values()) == sorted(['Il a dit "oui.', "nan", "Straße à İstanbul"])
    assert list(read_table(tmp_path / "data/dev/text").values()) == ['Another".']
    for split in ("train", "dev", "test"):
        assert validate_data_dir(tmp_path / "data" / split) == []
    assert set(read_table(train / "utt2lang").values()) == {"fr"}
    for utterance, speaker in read_table(train / "utt2spk").items():
        assert utterance.startswith(speaker + "-c") and len(speaker) == len("fr_") + 16


def test_bad_rows_are_dropped_and_named(make_corpus: MakeCorpus, tmp_path: Path) -> None:
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
    corpus = make_corpus(rows, extra=extra)
    folder = corpus.common_voice / "cv-corpus-x/fr"
    (folder / "clips/e3.mp3").unlink()
    (folder / "clips/e4.mp3").write_bytes(b"")
    with (folder / "validated.tsv").open("a", encoding="utf-8") as stream:
        stream.write("ann\tc1.mp3\tEncore.\t2\t0\t\t\t\tfr\t\nann\tc8.mp3\tcourt\n")
    prepare_covost2(corpus, ["fr"], tmp_path / "data", LENIENT)
    assert drops(tmp_path / "data", "fr", "train") == {
        "duplicate clip": 1,
        "bad row in CoVoST 2's table": 1,
        "empty sentence": 1,
        "empty translation": 1,
        "no such clip": 1,
        "unreadable clip": 1,
    }
    assert drops(tmp_path / "data", "fr", "dev") == {"no speaker": 1, "not in validated.tsv": 1}
    assert drops(tmp_path / "data", "fr", "") == {
        "unknown split": 1,
        "duplicate clip in validated.tsv": 1,
        "bad row in validated.tsv": 1,
    }
    report = (tmp_path / "data/report.md").read_text(encoding="utf-8")
    assert "covost_v2.fr_en.tsv:13: 4 fields, expected 3" in report
    assert "validated.tsv:14: 3 fields, expected 10" in report


def test_tables_are_read_as_the_corpuss_own_script_reads_them(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus([])
    folder, table = corpus.common_voice / "cv-corpus-x/fr", tmp_path / "covost2/covost_v2.fr_en.tsv"
    rows = [
        (r"Il a dit \"oui\".", r"He said \"yes\".", "train"),
        ("Un \\\tdeux.", "One\\\ttwo.", "test"),  # a tab of the text itself
        (r"C:\\x", r"C:\\x", "dev"),
    ]
    with (folder / "validated.tsv").open("a") as clips, table.open("a") as translations:
        for number, (sentence, translation, split) in enumerate(rows):
            clips.write(f"ann\te{number}.mp3\t{sentence}\t2\t0\t\t\t\tfr\t\n")
            translations.write(f"e{number}.mp3\t{translation}\t{split}\n")
            soundfile.write(folder / f"clips/e{number}.mp3", np.zeros(16000), 16000, format="MP3")
        translations.write("e9.mp3\tOne\ttoo many\ttest\n")
    prepare_covost2(corpus, ["fr"], tmp_path / "data", LENIENT)
    found = {
        split: [text for name in ("src_text", "text") for text in read_table(tmp_path / "data" / split / name).values()]
        for split in ("train", "test", "dev")
    }
    assert found == {
        "train": ['Il a dit "oui".', 'He said "yes".'],
        "test": ["Un deux.", "One two."],
        "dev": ["C:\\x", "C:\\x"],
    }
    report = json.loads((tmp_path / "data/report.json").read_text())["languages"]["fr"]["splits"]["test"]
    assert (report["rows"], report["kept"]) == (2, 1)  # the bad row counts where it is missing
    assert report["dropped"]["bad row in CoVoST 2's table"]["count"] == 1


def test_translations_that_say_remove_are_dropped_in_training_and_counted_elsewhere(
    make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    rows = [(f"r{split}", "ann", "Rien du tout.", "REMOVE", split) for split in ("train", "dev", "test")]
    rows += [("r4", "ann", "Encore rien.", '"REMOVE".', "train"), ("r5", "ann", "Enlevez.", "Remove.", "train")]
    [report] = prepare_covost2(
        make_corpus([*GOOD, *rows]), ["fr"], tmp_path / "data", CorpusOptions(drop_overlap=False)
    )
    assert drops(tmp_path / "data", "fr", "train") == {"translation says REMOVE": 2}
    assert drops(tmp_path / "data", "fr", "test") == drops(tmp_path / "data", "fr", "dev") == {}
    assert [text for text in report.warnings() if "REMOVE" in text] == [
        "fr: 1 translations of dev say REMOVE, and are kept",
        "fr: 1 translations of test say REMOVE, and are kept",
    ]
    assert "REMOVE" in read_table(tmp_path / "data/test/text").values()
    assert (
        "remark: 1 translations of test say REMOVE, and are kept, first: " in (tmp_path / "data/report.md").read_text()
    )


def test_the_limits_hold_for_training_and_leave_dev_and_test_whole(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    odd = [
        ("e1", "Court.", "Short.", 0.1),
        ("e2", "Вот это да", "Well well.", 1.0),
        ("e3", "Oui\ufffd.", "Yes.", 1.0),
        ("e4", "Oui.", "Yes, " * 20, 1.0),
        ("e5", "Oui.", "是的", 1.0),
    ]
    rows = [
        (f"{name}{split}", "ann", source, target, split)
        for split in ("train", "test")
        for name, source, target, _ in odd
    ]
    corpus = make_corpus([*GOOD, *rows])
    for name, _, _, seconds in odd:
        for split in ("train", "test"):
            clip = corpus.common_voice / f"cv-corpus-x/fr/clips/{name}{split}.mp3"
            soundfile.write(clip, np.zeros(int(16000 * seconds)), 16000, format="MP3")
    prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(drop_overlap=False))
    assert drops(tmp_path / "data", "fr", "train") == {
        "sentence in another script": 1,
        "unprintable character in the sentence": 1,
        "translation in another script": 1,
        "shorter than 0.3 s": 1,
        "translation above 40 characters a second": 1,
    }
    assert drops(tmp_path / "data", "fr", "test") == {}
    options = CorpusOptions(drop_overlap=False, min_duration=0.0, text=TextFilter(False, 0.0, 1000.0))
    [report] = prepare_covost2(corpus, ["fr"], tmp_path / "all", options)
    assert report.splits["train"].kept == 3 + 5
    with pytest.raises(ValueError, match="train: no utterance is left"):
        prepare_covost2(corpus, ["fr"], tmp_path / "none", CorpusOptions(drop_overlap=False, max_duration=0.05))
    assert [path.name for path in (tmp_path / "none").rglob("*") if path.is_file()] == ["report.json", "report.md"]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_damaged_clips_are_counted_and_too_many_are_fatal(
    make_corpus: MakeCorpus, tmp_path: Path, share: float
) -> None:
    corpus = make_corpus(GOOD)
    for name in ("c1", "c4"):
        (corpus.common_voice / f"cv-corpus-x/fr/clips/{name}.mp3").write_bytes(b"no audio")
    make_corpus([("d1", "ann", "Ja.", "Yes.", "train"), ("d2", "ann", "Nein.", "No.", "dev")], "de")
    options = CorpusOptions(max_bad_share=share)
    if share == 0.5:
        reports = prepare_covost2(corpus, ["de", "fr"], tmp_path / "data", options)
        assert reports[1].splits["train"].dropped.counts == {"unreadable clip": 1}
        return
    with pytest.raises(ValueError, match=r"fr: 2 of 5 clips are absent or damaged, at most 5% may .*\n.*c1.mp3"):
        prepare_covost2(corpus, ["de", "fr"], tmp_path / "data", options)
    report = json.loads((tmp_path / "data/report.json").read_text())["languages"]  # written all the same
    assert report["fr"]["splits"]["dev"]["dropped"]["unreadable clip"]["count"] == 1
    assert not (tmp_path / "data/train/text").exists()


def test_another_release_and_half_unpacked_clips_are_told_before_any_clip_is_read(
    make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    corpus = make_corpus(GOOD)
    make_corpus([(f"d{number}", "ann", "Ja.", "Yes.", "train") for number in range(4)], "de")
    table = corpus.common_voice / "cv-corpus-x/fr/validated.tsv"
    table.write_text("\n".join(table.read_text().split("\n")[:3]) + "\n")
    for number in range(1, 4):
        (corpus.common_voice / f"cv-corpus-x/de/clips/d{number}.mp3").unlink()
    with pytest.raises(ValueError) as caught:
        prepare_covost2(corpus, ["fr", "de"], tmp_path / "data")
    message = str(caught.value)
    assert message.startswith("2 faults of the corpus:\n  de: 3 of 4 clips that validated.tsv lists are not in ")
    assert "(first d1), at most 5% may (--max_bad_share): half unpacked?" in message
    assert "fr: 3 of 5 clips" in message and "another release" in message and "cv-corpus-4-2019-12-10" in message
    assert not (tmp_path / "data").exists()


def test_two_runs_give_the_same_bytes(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(GOOD)
    contents = []
    for name in ("one", "two"):
        prepare_covost2(corpus, ["fr"], tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([(str(path.relative_to(tmp_path / name)), path.read_bytes()) for path in files])
    assert contents[0] == contents[1] and len(contents[0]) == 2 + 3 * 7


def test_counts_are_compared_with_the_published_ones_of_a_full_corpus() -> None:
    report = SourceReport("fr", "", "", published=published_counts("fr"))
    for name, count in (("train", 207_374), ("dev", 14_760), ("test", 10_000)):
        report.splits[name].rows = report.splits[name].kept = count
    assert report.warnings() == ["fr test: kept 10,000, about 14,760 are published"]
    report.splits["train"].rows = report.splits["dev"].rows = report.splits["test"].rows = 100
    assert report.warnings() == []


def test_another_target_language_names_the_table_and_judges_the_script(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    rows = [(clip, client, "Hello there.", "你好。", split) for clip, client, _, _, split in GOOD]
    rows.append(("c6", "bob", "Hello again.", "Ni hao.", "train"))
    made = make_corpus(rows)
    (tmp_path / "covost2/covost_v2.fr_en.tsv").rename(tmp_path / "covost2/covost_v2.en_zh-CN.tsv")
    (made.common_voice / "cv-corpus-x/fr").rename(made.common_voice / "cv-corpus-x/en")
    sources = replace(made, target="zh")
    [report] = prepare_covost2(sources, ["en"], tmp_path / "data", CorpusOptions(drop_overlap=False))
    assert report.splits["train"].dropped.counts == {"translation in another script": 1}
    assert set(read_table(tmp_path / "data/train/text").values()) == {"你好。"}
    with pytest.raises(ValueError, match="CoVoST 2 has no table covost_v2.zh_zh-CN.tsv"):
        prepare_covost2(sources, ["zh"], tmp_path / "none")
    with pytest.raises(ValueError, match="--english train has English transcripts as targets, not zh"):
        prepare_covost2(sources, ["fr"], tmp_path / "none", CorpusOptions(english="train"))


def test_the_real_sample_is_prepared_whole(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "common_voice_sample"
    command = ["--common_voice", str(sample), "--covost2", str(sample / "covost2"), "--datadir", str(tmp_path)]
    prepare_data.main(
        ["covost2", *command, "--langs", "de zh ar es fr it nl ja ru pt et sv sl", "--drop_overlap", "false"]
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["languages"]
    assert list(report) == "ar de es et fr it ja nl pt ru sl sv-SE zh-CN".split()
    for language in report.values():
        assert [language["splits"][split]["kept"] for split in ("train", "dev", "test")] == [70, 10, 20]
    for split in ("train", "dev", "test"):
        assert validate_data_dir(tmp_path / split) == []
    assert '"Pardon," he repeated.' in read_table(tmp_path / "train/text").values()


def test_all_rows_are_one_set_for_testing(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus([*GOOD, ("c4", "bob", "Un autre.", "Again.", "train")])
    long = np.random.default_rng(1).normal(0, 0.1, 31 * 16000)
    soundfile.write(corpus.common_voice / "cv-corpus-x/fr/clips/c1.mp3", long, 16000, format="MP3")
    options = CorpusOptions(all_as="test_real", max_bad_share=1.0)
    prepare_covost2(corpus, ["fr"], tmp_path / "data", options)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["report.json", "report.md", "test_real"]
    names = [name.rpartition("-")[2] for name in read_table(tmp_path / "data/test_real/text")]
    assert sorted(names) == ["c1", "c2", "c3", "c4", "c5"]  # whole: limits are of training
    assert validate_data_dir(tmp_path / "data/test_real") == []
    report = json.loads((tmp_path / "data/report.json").read_text())["languages"]["fr"]["splits"]
    assert list(report) == ["test_real"] and report["test_real"]["rows"] == 6
    assert report["test_real"]["dropped"]["duplicate clip"]["count"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"english": "train"}, "--all_as real is for testing; --english and --pseudo_labels are for training"),
        ({"all_as": "test"}, "--all_as 'test': expected a name that is not one of train, dev, test"),
        ({"all_as": "a/b"}, "--all_as 'a/b': expected a name"),
        ({}, "--all_as real: .*/data has the sets of a corpus; give another --datadir"),
    ],
)
def test_a_single_set_is_neither_for_training_nor_next_to_other_sets(
    make_corpus: MakeCorpus, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "data/train").mkdir(parents=True)
    with pytest.raises(ValueError, match=message):
        prepare_covost2(make_corpus(GOOD), ["fr"], tmp_path / "data", CorpusOptions(**{"all_as": "real", **options}))


def test_a_single_set_can_be_read_from_anywhere(
    make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(GOOD)
    monkeypatch.chdir(tmp_path)
    words = ["covost2", "--common_voice", "cv", "--covost2", "covost2", "--langs", "fr", "--datadir", "out"]
    assert prepare_data.main([*words, "--all_as", "real"]) == 0
    assert all(path.startswith(f"{tmp_path}/cv/") for path in read_table("out/real/wav.scp").values())
