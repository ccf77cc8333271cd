"""Rows of CoVoST 2, English transcripts and pseudo-labels become clips of the split they may be in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table
from speechllama.text.clean import normalise_text
from test.corpora.conftest import GOOD, MakeCorpus


def test_a_clip_in_two_splits_leaves_train(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    extra = "c5.mp3\tNo!\ttrain\nc1.mp3\tYes.\tdev\n"
    [report] = prepare_covost2(make_corpus(GOOD, extra=extra), ["fr"], tmp_path / "data")
    assert report.splits["train"].dropped.counts == {"clip is in test too": 1, "clip is in dev too": 1}
    assert (report.splits["train"].kept, report.splits["dev"].kept, report.splits["test"].kept) == (2, 2, 1)


def test_sentences_of_train_in_test_are_reported_and_dropped(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus([*GOOD, ("c6", "ann", "«NON»", "No!", "train")])
    (corpus.common_voice / "cv-corpus-x/fr/clips/c5.mp3").unlink()  # held out even if the clip itself is lost
    rows = [*GOOD, ("c7", "eve", "Bon.", "Good.", "test")]
    kept = CorpusOptions(drop_overlap=False)
    whole = make_corpus([*rows, ("c6", "ann", "«NON»", "No!", "train")])
    [report] = prepare_covost2(whole, ["fr"], tmp_path / "data", kept)
    assert report.splits["train"].kept == 4
    assert report.warnings() == ["fr: 1 train sentences are in test too"]
    (corpus.common_voice / "cv-corpus-x/fr/clips/c5.mp3").unlink()
    [report] = prepare_covost2(corpus, ["fr"], tmp_path / "data")
    assert report.splits["train"].kept == 3
    assert report.warnings() == ["fr: 1 train sentences are in test too"]
    assert report.splits["train"].dropped.counts == {"sentence is in test too": 1}


def test_english_speech_is_trained_with_its_transcripts(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(GOOD)
    english = [("a1", "zoe", "Good day.", "", ""), ("a2", "zoe", "no", "", ""), ("a3", "amy", "Bye.", "", "")]
    make_corpus(english, "en")
    (corpus.common_voice / "cv-corpus-x/en/dev.tsv").write_text("path\na3.mp3\n")
    reports = prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(english="validated"))
    assert [report.name for report in reports] == ["en transcripts", "fr"]
    assert reports[0].splits["train"].dropped.counts == {
        "clip is in Common Voice's dev too": 1,
        "sentence is in test too": 1,
    }
    assert reports[0].warnings() == ["en transcripts: 1 train sentences are in test too"]  # the translation "No!"
    train = tmp_path / "data/train"
    own = {utt for utt, language in read_table(train / "utt2lang").items() if language == "en"}
    assert {read_table(train / "text")[utt] for utt in own} == {"Good day."}
    assert {read_table(train / "src_text")[utt] for utt in own} == {"Good day."}
    assert validate_data_dir(train) == []
    with pytest.raises(ValueError, match="en/train.tsv: no such table; the other one is --english validated"):
        prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(english="train"))


def test_pseudo_labels_are_trained_on_but_never_what_is_held_out(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(GOOD)
    noise = np.random.default_rng(1).normal(0, 0.1, 16000)
    soundfile.write(corpus.common_voice / "cv-corpus-x/fr/clips/p1.mp3", noise, 16000, format="MP3")
    (tmp_path / "own").mkdir()
    soundfile.write(tmp_path / "own/talk 1.wav", noise, 16000)
    table = tmp_path / "pseudo.tsv"
    table.write_text(
        "client_id\tlang\tpath\tsentence\ttranslation\n"
        "ann\tfr\tp1.mp3\tMerci.\tThanks.\n"
        "max\tfr\town/talk 1.wav\tSalut.\tHi.\n"
        "max\tfr\town/gone.wav\tSalut.\tHi.\n"
        "eve\tfr\tc5.mp3\tNon !\tNope!\n"
        "ann\tfr\tc1.mp3\tIl a dit oui.\tYes.\n"
        "ann\tfr\tp1.mp3\tMerci.\tThanks.\n"
        "ann\tGerman\tp1.mp3\tDanke.\tThanks.\n"
    )
    reports = prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(pseudo_labels=table, max_bad_share=0.5))
    assert [report.name for report in reports] == ["fr", "fr pseudo-labels", "pseudo-labels"]
    assert reports[2].splits["train"].dropped.counts == {"language 'German' is not trained": 1}
    assert "1 language 'German' is not trained, first: " in (tmp_path / "data/report.md").read_text(encoding="utf-8")
    split = reports[1].splits["train"]
    assert (split.rows, split.kept, split.speakers) == (6, 2, 2)
    assert split.dropped.counts == {
        "no such clip": 1,
        "clip is in test too": 1,
        "clip is in train too": 1,
        "duplicate clip": 1,
    }
    train = tmp_path / "data/train"
    assert {"Thanks.", "Hi."} < set(read_table(train / "text").values())
    assert validate_data_dir(train) == []
    table.write_text("lang\tpath\tsentence\ttranslation\nen\tp1.mp3\tThanks.\tThanks.\n")
    with pytest.raises(ValueError, match=r"pseudo.tsv: no row of a language that is trained \(fr\); found {.*'en'"):
        prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(pseudo_labels=table))
    table.write_text("lang\tpath\tsentence\n")
    with pytest.raises(ValueError, match="pseudo.tsv:1: no column translation"):
        prepare_covost2(corpus, ["fr"], tmp_path / "data", CorpusOptions(pseudo_labels=table))


def test_names_without_suffix_are_joined(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(GOOD)
    table = corpus.common_voice / "cv-corpus-x/fr/validated.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace(".mp3", ""), encoding="utf-8")
    [report] = prepare_covost2(corpus, ["fr"], tmp_path / "data")
    assert sum(split.kept for split in report.splits.values()) == 5


def test_text_keeps_case_and_punctuation() -> None:
    assert normalise_text(" Straße\u2028I\u0307  e\u0301té ?") == "Straße \u0130 été ?"
