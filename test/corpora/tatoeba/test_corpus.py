"""Spoken Tatoeba on disk: the real data preparation takes it, the same bytes always, no held-out text for the LLM."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from speechllama.bin.prepare_data import main
from speechllama.corpora.mini.corpus import make_clip
from speechllama.corpora.mini.plan import Pair
from speechllama.corpora.synthetic.espeak import synthesize
from speechllama.corpora.tatoeba.corpus import list_texts, make_tatoeba, read_plain_text
from speechllama.corpora.tatoeba.options import TatoebaOptions
from speechllama.corpora.tatoeba.plan import SECONDS, TatoebaSettings, VoicePlan, expected_seconds
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table
from speechllama.text.filter import sentence_key

NOUNS = {"dog": ("der Hund", "de hond"), "man": ("der Mann", "de man"), "bird": ("der Vogel", "de vogel")}
VERBS = {"sings": ("singt", "zingt"), "sleeps": ("schläft", "slaapt"), "drinks": ("trinkt", "drinkt")}
TINY = TatoebaSettings(langs=("de", "nl"), hours=0.004, num_dev=2, num_test=4, seed=1)


def read_bytes(folder: Path) -> dict[str, bytes]:
    """All files of a folder by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pairs of each language with the same English."""
    folder = tmp_path_factory.mktemp("pairs")
    for place, code in enumerate(("deu", "nld")):
        rows = [
            f"The {noun} {verb}.\t{nouns[place].capitalize()} {verbs[place]}.\tby somebody\n"
            for noun, nouns in NOUNS.items()
            for verb, verbs in VERBS.items()
        ]
        (folder / f"{code}-eng.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """A corpus of some twenty clips."""
    folder = tmp_path_factory.mktemp("tatoeba")
    make_tatoeba(TINY, str(pairs), [], folder, 1)
    return folder


def llm_rows(corpus: Path) -> list[list[str]]:
    return [line.split("\t") for line in (corpus / "llm_text.tsv").read_text(encoding="utf-8").splitlines()[1:]]


def test_the_data_preparation_of_covost2_takes_it_whole(corpus: Path, tmp_path: Path) -> None:
    places = ["--common_voice", str(corpus / "common_voice"), "--covost2", str(corpus / "covost2")]
    main(["covost2", *places, "--langs", "de nl", "--datadir", str(tmp_path)])
    sizes = {}
    for split in ("train", "dev", "test"):
        assert validate_data_dir(tmp_path / split) == []
        sizes[split] = len(read_table(tmp_path / split / "text"))
    assert sizes == {"train": len(list(corpus.rglob("*.mp3"))) - 6, "dev": 2, "test": 4}
    trained = read_table(tmp_path / "train" / "text").values()
    held_out = [text for split in ("dev", "test") for text in read_table(tmp_path / split / "text").values()]
    assert not set(trained) & set(held_out)
    seconds = sum(map(float, read_table(tmp_path / "train" / "utt2dur").values()))
    assert seconds == pytest.approx(TINY.hours * 3600, rel=0.5)  # two clips of 2 s may be over


def test_the_llm_reads_training_pairs_and_nothing_held_out(corpus: Path) -> None:
    rows = llm_rows(corpus)
    assert all(row[1] for row in rows) and {row[0] for row in rows} == {"de", "nl"}
    held_out = set()
    for lang in TINY.langs:
        lines = (corpus / "covost2" / f"covost_v2.{lang}_en.tsv").read_text().splitlines()
        held_out |= {line.split("\t")[1] for line in lines if line.endswith(("\tdev", "\ttest"))}
    assert len(held_out) == 3 and not held_out & {row[2] for row in rows}


def test_two_processes_make_the_same_bytes_as_one(corpus: Path, pairs: Path, tmp_path: Path) -> None:
    make_tatoeba(TINY, str(pairs), [], tmp_path, 2)
    assert read_bytes(tmp_path) == read_bytes(corpus)


def test_more_hours_keep_the_clips_and_other_settings_are_refused(corpus: Path, pairs: Path, tmp_path: Path) -> None:
    short = replace(TINY, hours=0.001)
    make_tatoeba(short, str(pairs), [], tmp_path, 1)
    clips = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp3")}
    make_tatoeba(TINY, str(pairs), [], tmp_path, 1)
    assert read_bytes(tmp_path) == read_bytes(corpus)
    assert {path: path.stat().st_mtime_ns for path in clips} == clips
    assert len(clips) < len(list(tmp_path.rglob("*.mp3")))
    with pytest.raises(ValueError, match=r"settings.json: .*num_test: 4, now 2.*choose another --output_dir"):
        make_tatoeba(replace(TINY, num_test=2), str(pairs), [], tmp_path, 1)


def test_other_pairs_in_the_same_folder_are_refused_with_what_to_do(pairs: Path, tmp_path: Path) -> None:
    short, folder = replace(TINY, hours=0.0001), tmp_path / "made"
    shutil.copytree(pairs, tmp_path / "pairs")
    make_tatoeba(short, str(tmp_path / "pairs"), [], folder, 1)
    changed = next((tmp_path / "pairs").iterdir())
    changed.write_bytes(changed.read_bytes() + b"She likes the green bicycle very much.\tNieuwe zin hier.\n")
    message = r"made/settings.json: .*\(other sentences, or another version of .*\)\. To keep it, choose another"
    message += r" --output.* --datadir, .*; to make .*, remove settings.json, common_voice, covost2, llm_text.tsv from"
    with pytest.raises(ValueError, match=message):
        make_tatoeba(short, str(tmp_path / "pairs"), [], folder, 1)
    for name in ("common_voice", "covost2"):
        shutil.rmtree(folder / name)
    for name in ("settings.json", "llm_text.tsv"):
        (folder / name).unlink()
    make_tatoeba(short, str(tmp_path / "pairs"), [], folder, 1)
    assert any("green bicycle" in path.read_text() for path in folder.rglob("*.tsv"))


def test_rooms_and_noise_are_in_the_clips(pairs: Path, tmp_path: Path) -> None:
    pair = Pair("de", "Der Hund schläft.", "The dog sleeps.")
    utterance = next(
        each
        for each in (VoicePlan(1).choose(pair, "train", index) for index in range(50))
        if each.surroundings is not None and each.surroundings.snr_db is not None and each.surroundings.snr_db < 12
    )
    make_clip(utterance, tmp_path / "noisy.mp3")
    make_clip(replace(utterance, surroundings=None), tmp_path / "dry.mp3")
    noisy, dry = (soundfile.read(tmp_path / f"{name}.mp3")[0] for name in ("noisy", "dry"))
    assert abs(noisy).max() == pytest.approx(utterance.peak, rel=0.15)  # MP3 does not keep samples
    assert abs(noisy[-200:]).mean() > 5 * abs(dry[-200:]).mean()  # eSpeak ends with silence


@pytest.mark.parametrize("lang", SECONDS)
def test_the_expected_length_is_about_the_true_one(lang: str) -> None:
    sentences = {
        "de": "Wir haben gestern lange auf den Bus gewartet.",
        "es": "Ayer esperamos mucho tiempo el autobús.",
        "fr": "Hier, nous avons attendu le bus longtemps.",
        "nl": "We hebben gisteren lang op de bus gewacht.",
    }
    item = VoicePlan(1).choose(Pair(lang, sentences[lang], "We waited."), "train", 0)
    waveform, rate = synthesize(item.pair.sentence, lang, item.variant, item.speed_wpm, item.pitch)
    assert expected_seconds(item) == pytest.approx(len(waveform) / rate, rel=0.25)


def test_plain_text_is_read_without_lines_that_hold_a_held_out_sentence(tmp_path: Path) -> None:
    path = tmp_path / "english.txt"
    path.write_text(
        "A line to keep.\n\n  Two   spaces go. \nFirst this. The dog sleeps! Then that.\nthe dog sleeps\n"
        "He said: the dog sleeps in its house.\n1234\n",
        encoding="utf-8",
    )
    kept = read_plain_text(path, {sentence_key("The dog sleeps.")})
    assert kept == ["A line to keep.", "Two spaces go.", "He said: the dog sleeps in its house."]


def test_plain_text_joins_the_llms_text_once_a_line(corpus: Path, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text("Something else is here.\n", encoding="utf-8")
    make_tatoeba(replace(TINY, hours=0.0001), str(pairs), [tmp_path / "texts"], tmp_path / "made", 1)
    assert llm_rows(tmp_path / "made") == [*llm_rows(corpus), ["en", "", "Something else is here."]]


def test_plain_text_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: no such text"):
        list_texts([tmp_path / "absent"])
    with pytest.raises(FileNotFoundError, match="folders with .txt files"):
        list_texts([tmp_path])
    (tmp_path / "latin1.txt").write_bytes(b"Fine.\ncaf\xe9\n")
    with pytest.raises(ValueError, match="latin1.txt:2: not UTF-8"):
        read_plain_text(tmp_path / "latin1.txt", set())
    (tmp_path / "digits.txt").write_text("12 34\n")
    with pytest.raises(ValueError, match="no usable line of English among 1"):
        read_plain_text(tmp_path / "digits.txt", set())


def test_the_entry_point_makes_the_corpus_and_has_the_defaults_of_the_settings(
    corpus: Path, pairs: Path, tmp_path: Path
) -> None:
    sizes = "--hours 0.004 --num_dev 2 --num_test 4 --seed 1 --nj 1"
    folders = ["--downloads", str(tmp_path / "made"), "--datadir", str(tmp_path / "data")]
    main(["tatoeba", *folders, "--pairs", str(pairs), "--langs", "de nl", *sizes.split()])
    assert read_bytes(tmp_path / "made") == read_bytes(corpus)
    options = TatoebaOptions(langs="de fr es nl")
    settings = TatoebaSettings(options.languages, options.hours, options.num_dev, options.num_test, options.seed)
    assert settings == TatoebaSettings()
