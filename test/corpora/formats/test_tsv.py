"""Tab-separated tables: columns by option, languages, segments, and what is said of faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.corpora.formats.options import TsvOptions
from speechllama.corpora.formats.rows import pick
from speechllama.corpora.formats.tsv import prepare, read_split
from speechllama.corpora.own import Unusable, Utterance
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_json, read_table
from speechllama.recipe.corpora import CORPORA

MakeClip = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Tables of five rows, whose last has a wrong number of fields."""
    make_clip("corpus/clips/long.wav", 5)
    for split in ("train", "dev", "test"):
        rows = ["file\tfrom\tto\tspeaker\tlang\tsaid\tde"]
        rows += [f"clips/long.wav\t{n}\t{n + 1}\tann\t{('fr', 'French', 'es')[n]}\tfr {n}\tde {n}" for n in range(3)]
        rows += ["clips/long.wav\t\t\tbob\t\tfr all\tde all", "clips/long.wav\t1"]
        (tmp_path / f"corpus/{split}.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "corpus"


def options_of(corpus: Path, **given: Any) -> TsvOptions:
    """Options with the columns of these tables."""
    columns = {"audio_column": "file", "start_column": "from", "end_column": "to", "lang_column": "lang"}
    columns |= {"text_column": "de", "src_text_column": "said", "speaker_column": "speaker"}
    where = {"corpus": str(corpus), "datadir": str(corpus.parent / "data"), "langs": "fr", "target_lang": "de"}
    return TsvOptions(**{**columns, **where, **given})


def test_rows_become_utterances_and_what_is_none_is_counted(corpus: Path) -> None:
    prepare(options_of(corpus))
    folder = corpus.parent / "data/train"
    assert [*read_table(folder / "text")] == ["ann-long_000002", "ann-long_000003", "bob-long_000005"]
    assert [value.split()[1:] for value in read_table(folder / "segments").values()] == [
        ["0", "1.000"],
        ["1", "2.000"],
        ["0", "-1.000"],
    ]
    report = read_json(corpus.parent / "data/report.json")["languages"]
    assert report["es"]["splits"]["train"]["dropped"]["language that is not in --langs"]["count"] == 1
    assert report["fr"]["splits"]["train"]["dropped"]["bad row"]["examples"][0].startswith(
        f"{corpus}/train.tsv:6: 2 fie"
    )
    assert validate_data_dir(folder) == []


def test_several_languages_and_targets_are_in_columns(corpus: Path) -> None:
    rows = [*read_split(options_of(corpus, langs="fr es", target_column="lang", id_column="said"), "train")]
    assert [(row.language, row.target, row.name) for row in rows if isinstance(row, Utterance)] == [
        ("fr", "fr", "fr 0"),
        ("fr", "fr", "fr 1"),
        ("es", "es", "fr 2"),
    ]
    assert [row.reason for row in rows if isinstance(row, Unusable)] == ["language that is not in --langs", "bad row"]
    with pytest.raises(ValueError, match=r"^--langs fr es: which utterance is in which .*\? --lang_column says$"):
        [*read_split(options_of(corpus, langs="fr es", lang_column=""), "train")]


def test_a_target_language_may_be_named_in_english(corpus: Path) -> None:
    table = corpus / "train.tsv"
    head, *rows = table.read_text().splitlines()
    names = ("German", "Chinese", "", "sv", "Klingon")
    table.write_text("\n".join([f"{head}\tinto", *(f"{rows[0]}\t{name}" for name in names)]) + "\n")
    options = options_of(corpus, target_column="into", target_lang="zh-CN")
    given = [row.target for row in read_split(options, "train") if isinstance(row, Utterance)]
    assert given == ["de", "zh-CN", "", "sv", "Klingon"]


def test_missing_tables_and_columns_are_told(corpus: Path) -> None:
    with pytest.raises(
        ValueError, match="no such column: --text_column en, --audio_column audio; found file, from, to"
    ):
        [*read_split(options_of(corpus, text_column="en", audio_column="audio"), "train")]
    assert CORPORA["tsv"].estimate(options_of(corpus)).num_rows == {"train": 5, "dev": 5, "test": 5}
    (corpus / "dev.tsv").unlink()
    with pytest.raises(ValueError, match=r"dev\.tsv: no such table; --train, --dev and --test say which"):
        prepare(options_of(corpus))
    assert len(CORPORA["tsv"].estimate(options_of(corpus)).faults) == 1
    assert len(CORPORA["tsv"].find_sources(options_of(corpus)).tables) == 2


@pytest.mark.parametrize(
    ("given", "texts"),
    [({"src_text_column": "none"}, ("de 0", "de 0")), ({"text_column": "none"}, ("fr 0", "fr 0"))],
)
def test_a_text_that_there_is_none_of_is_the_other(corpus: Path, given: dict[str, str], texts: tuple[str, str]) -> None:
    row = next(iter(read_split(options_of(corpus, **given), "train")))
    assert isinstance(row, Utterance) and (row.transcript, row.translation) == texts


def test_times_that_are_none_are_faults(corpus: Path) -> None:
    lines = (corpus / "train.tsv").read_text().splitlines()
    lines[1:3] = [lines[1].replace("\t0\t1\t", "\t1\t0.5\t"), lines[2].replace("\t1\t2\t", "\tone\t2\t")]
    (corpus / "train.tsv").write_text("\n".join(lines) + "\n")
    rows = [row for row in read_split(options_of(corpus), "train") if isinstance(row, Unusable)]
    assert [(row.reason, row.is_fault) for row in rows[:2]] == [("utterance with wrong times", True)] * 2
    assert rows[1].where == f"{corpus}/train.tsv:3: from 'one' to '2' seconds"


def test_a_column_may_be_a_field_of_another() -> None:
    row = {"translation": {"de": "ja", "x": {"y": 1}}, "a.b": 2}
    assert [pick(row, name) for name in ("translation.de", "translation.x.y", "a.b", "translation.fr", "c", "a.c")] == [
        *("ja", 1, 2),
        *(None, None, None),
    ]
