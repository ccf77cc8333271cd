"""The miniature corpus: CoVoST 2's layout, disjoint splits, the same bytes always."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import soundfile

from speechllama.bin.prepare_data import main
from speechllama.corpora.mini.corpus import VALIDATED_COLUMNS, make_corpus
from speechllama.corpora.mini.grammar import sample_pair
from speechllama.corpora.mini.options import MiniOptions
from speechllama.corpora.mini.plan import Settings, divide_voices, draw_pairs, plan_utterances, share
from speechllama.files import read_json, read_table

TINY = Settings(langs=("de", "es"), num_train=4, num_dev=2, num_test=2, num_llm_text=10, seed=3)


def read_rows(path: Path) -> list[list[str]]:
    """Rows of a TSV, the header first."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def read_bytes(folder: Path) -> dict[str, bytes]:
    """All files of a folder by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of eight clips."""
    folder = tmp_path_factory.mktemp("mini")
    make_corpus(TINY, folder, 1)
    return folder


def test_the_files_are_those_of_common_voice_and_covost2(corpus: Path) -> None:
    splits = []
    for lang in TINY.langs:
        header, *rows = read_rows(corpus / "common_voice" / lang / "validated.tsv")
        assert header == VALIDATED_COLUMNS and all(len(row) == len(header) for row in rows)
        assert all(len(row[0]) == 128 for row in rows)
        covost_header, *covost = read_rows(corpus / "covost2" / f"covost_v2.{lang}_en.tsv")
        assert covost_header == ["path", "translation", "split"]
        assert [row[0] for row in covost] == [row[1] for row in rows]
        splits += [row[2] for row in covost]
        for row in rows:
            information = soundfile.info(corpus / "common_voice" / lang / "clips" / row[1])
            assert information.format == "MP3" and information.channels == 1
            assert 0.5 < information.duration < 8
    assert sorted(splits) == ["dev"] * 2 + ["test"] * 2 + ["train"] * 4


def test_the_llm_text_holds_the_training_sentences_and_no_held_out_ones(corpus: Path) -> None:
    header, *rows = read_rows(corpus / "llm_text.tsv")
    assert header == ["lang", "sentence", "translation"] and len(rows) == TINY.num_llm_text
    pairs, _ = draw_pairs(TINY)
    trained = {(pair.lang, pair.sentence, pair.translation) for pair in pairs["train"]}
    assert trained <= {tuple(row) for row in rows}
    held_out = pairs["dev"] + pairs["test"]
    assert not {pair.sentence for pair in held_out} & {row[1] for row in rows}
    assert not {pair.translation for pair in held_out} & {row[2] for row in rows}


def test_the_default_corpus_has_disjoint_sentences_english_sides_and_voices() -> None:
    settings = Settings()
    pairs, text = draw_pairs(settings)
    utterances = plan_utterances(settings, pairs)
    assert len(text) == settings.num_llm_text
    assert [len(pairs[split]) for split in ("train", "dev", "test")] == [6000, 90, 450]
    for left, right in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for name in ("sentence", "translation"):
            texts = [{getattr(pair, name) for pair in pairs[split]} for split in (left, right)]
            assert not texts[0] & texts[1]
        voices = [{item.variant for item in utterances if item.split == split} for split in (left, right)]
        readers = [{item.client_id for item in utterances if item.split == split} for split in (left, right)]
        assert not voices[0] & voices[1] and not readers[0] & readers[1]
    held_out = {pair.translation for pair in pairs["dev"] + pairs["test"]}
    assert not held_out & {pair.translation for pair in text}
    assert len({(pair.lang, pair.sentence) for pair in text}) == len(text)
    assert len({item.file_name for item in utterances}) == len(utterances)


def test_every_split_has_several_voices_and_another_seed_other_ones() -> None:
    voices = divide_voices(1)
    assert set(voices) == {"train", "dev", "test"} and min(map(len, voices.values())) >= 4  # groups of like voices
    assert voices == divide_voices(1) != divide_voices(2)


def test_two_processes_make_the_same_bytes_as_one(corpus: Path, tmp_path: Path) -> None:
    make_corpus(TINY, tmp_path, 2)
    assert read_bytes(tmp_path) == read_bytes(corpus)


def test_a_second_call_makes_only_the_missing_clips(corpus: Path) -> None:
    before = read_bytes(corpus)
    clips = sorted((corpus / "common_voice" / "de" / "clips").iterdir())
    clips[0].unlink()
    kept = clips[1].stat().st_mtime_ns
    make_corpus(TINY, corpus, 1)
    assert read_bytes(corpus) == before
    assert clips[1].stat().st_mtime_ns == kept


def test_other_settings_in_the_same_folder_are_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match=r"settings.json: .*seed: 3, now 4.*choose another --output_dir"):
        make_corpus(Settings(**{**TINY.__dict__, "seed": 4}), corpus, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"langs": ("de", "xx")}, "no grammar for language 'xx'"),
        ({"langs": ()}, "expected different languages"),
        ({"langs": ("de", "de")}, "'de de', expected different languages"),
        ({"num_dev": 1}, "num_dev is 1, expected at least one for each language"),
        ({"num_llm_text": 3}, "num_llm_text is 3, but it includes num_train = 4"),
    ],
)
def test_settings_that_make_no_corpus_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_corpus(Settings(**{**TINY.__dict__, **change}), tmp_path, 1)


def test_no_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nj is 0"):
        make_corpus(TINY, tmp_path, 0)


def test_totals_are_shared_over_languages() -> None:
    assert share(8, ("de", "fr", "es")) == {"de": 3, "fr": 3, "es": 2}


def test_the_entry_point_makes_the_corpus_and_prepares_it(corpus: Path, tmp_path: Path) -> None:
    sizes = "--num_train 4 --num_dev 2 --num_test 2 --num_llm_text 10 --seed 3 --nj 1"
    folders = ["--downloads", str(tmp_path / "made"), "--datadir", str(tmp_path / "data")]
    assert main(["mini_covost2", *folders, "--langs", "de es", *sizes.split()]) == 0
    assert read_bytes(tmp_path / "made") == read_bytes(corpus)
    assert len(read_table(tmp_path / "data/train/text")) == 4


def test_the_defaults_of_the_options_are_those_of_the_settings() -> None:
    options, names = MiniOptions(langs="de fr es"), ("num_train", "num_dev", "num_test", "num_llm_text", "seed")
    assert Settings(options.languages, *(getattr(options, name) for name in names)) == Settings()


def test_a_pair_without_english_is_made_and_prepared(tmp_path: Path) -> None:
    sizes = ["--num_train", "3", "--num_dev", "1", "--num_test", "1", "--num_llm_text", "5", "--nj", "1"]
    places = ["--downloads", str(tmp_path / "made"), "--datadir", str(tmp_path / "data")]
    main(["mini_covost2", "--langs", "es", "--target_lang", "de", *sizes, *places])
    assert (tmp_path / "made/covost2/covost_v2.es_de.tsv").is_file()
    assert read_json(tmp_path / "made/settings.json")["target"] == "de"
    assert sample_pair("es", Random("1 train es"), "de")[1] in read_table(tmp_path / "data/train/text").values()
    with pytest.raises(ValueError, match="one of them is the target 'es'"):
        make_corpus(Settings(langs=("es",), target="es"), tmp_path / "none", 1)
