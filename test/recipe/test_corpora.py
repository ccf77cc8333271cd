"""What a corpus is made of: files whose change makes stage data stale, and what is known before it is prepared."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.corpora.covost2.options import CovostOptions
from speechllama.corpora.tatoeba.options import TatoebaOptions
from speechllama.options import UsageError
from speechllama.recipe.corpora import CORPORA, SizeEstimate, Sources
from speechllama.recipe.options import Options
from speechllama.recipe.plan import Plan, make_plan
from speechllama.recipe.stages import Stage
from test.recipe.conftest import EGS


def covost2(place: Path, langs: str, **options: Any) -> CovostOptions:
    """CoVoST 2 below a folder."""
    where: dict[str, Any] = {
        "common_voice": f"{place}/cv",
        "covost2": f"{place}/covost2",
        "downloads": f"{place}/downloads",
    }
    return CovostOptions(langs=langs, **where, **options)


def write(path: Path, text: str = "x") -> str:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def data_stage(plan: Plan) -> Stage:
    """The row of stage data."""
    return next(stage for _, stage in plan.stages() if stage.name == "data")


def test_archives_are_known_by_name_bytes_and_time_of_change(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "abc") for name in ("a.tgz", "b.tgz")]
    for path in paths:
        os.utime(path, (1, 1_600_000_000))
    assert Sources(archives=paths).stamps() == "a.tgz:3:1600000000 b.tgz:3:1600000000"
    os.utime(paths[1], (1, 1_700_000_000))
    assert Sources(archives=paths).stamps() == "a.tgz:3:1600000000 b.tgz:3:1700000000"
    assert Sources(tables=paths).stamps() == ""


def test_covost2_is_its_tables_its_archives_and_pseudo_labels(tmp_path: Path) -> None:
    clips = [write(tmp_path / "cv/de" / name) for name in ("validated.tsv",)]
    tables = [write(tmp_path / "covost2" / f"covost_v2.{lang}_en.tsv") for lang in ("de", "fr")]
    archive = write(tmp_path / "cv/cv-corpus-4-fr.tar.gz")
    labels = write(tmp_path / "labels.tsv")
    find = CORPORA["covost2"].find_sources
    assert find(covost2(tmp_path, "de")) == Sources([*clips, tables[0]])
    found = find(covost2(tmp_path, "de fr", pseudo_labels=labels))
    assert found == Sources([*clips, *tables], [archive, labels])
    english = [write(tmp_path / "cv/en" / name) for name in ("validated.tsv", "train.tsv")]
    assert find(covost2(tmp_path, "de", english="train")).tables == [*clips, tables[0], *english]
    assert find(covost2(tmp_path, "de", english="none")).tables == [*clips, tables[0]]


def test_covost2_that_is_not_there_is_made_of_nothing_and_its_estimate_says_so(tmp_path: Path) -> None:
    options = covost2(tmp_path, "de")
    assert CORPORA["covost2"].find_sources(options) == Sources()
    estimate = CORPORA["covost2"].estimate(options)
    assert not estimate.num_rows and any(f"{tmp_path}/" in fault for fault in estimate.faults)
    write(tmp_path / "cv/de/validated.tsv", "client_id\tpath\tsentence\n")
    write(tmp_path / "covost2/covost_v2.de_en.tsv", "path\ttranslation\tsplit\na\tx\ttrain\nb\ty\tdev\n")
    estimate = CORPORA["covost2"].estimate(options)
    assert estimate.num_rows == {"train": 1, "dev": 1} and estimate.faults == []


def test_tatoeba_is_its_pairs_and_its_plain_text(tmp_path: Path) -> None:
    def found(**options: str) -> list[str]:
        return (
            CORPORA["tatoeba"]
            .find_sources(
                TatoebaOptions(langs="de", downloads=f"{tmp_path}/downloads", **options)  # type: ignore[arg-type]
            )
            .archives
        )

    own = write(tmp_path / "downloads/pairs/deu-eng.tsv.gz")
    other = write(tmp_path / "other/deu-eng.tsv")
    text = [write(tmp_path / "texts" / name) for name in ("a.txt", "b.txt")]
    write(tmp_path / "texts/readme")
    assert found() == [own]
    assert found(pairs=f"{tmp_path}/other") == [other]
    assert found(plain_text=f"{tmp_path}/texts") == [own, *text]
    assert found(plain_text=text[0]) == [own, text[0]]


def test_the_places_of_a_corpus_are_options_of_the_recipe_and_of_its_script() -> None:
    for corpus in CORPORA.values():
        for kind in (Options, corpus.options):
            assert set(corpus.places) <= {field.name for field in dataclasses.fields(kind)}, corpus.name


def test_a_recipe_without_a_record_has_a_corpus_that_only_its_own_script_knows(own_plan: Callable[..., Plan]) -> None:
    plan = own_plan("--system", "e5", "--data_options", "--anything 3", mine="")
    assert plan.corpus is None and plan.data_options is None
    assert plan.sources == Sources() and plan.estimate_corpus() == SizeEstimate()
    assert data_stage(plan).jobs[0].command[-2:] == ("--anything", "3")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("covost2", "--englsh train", "^--data_options: unknown option --englsh; the nearest is --english$"),
        ("covost2", "--english all", "^--data_options: --english: unknown value 'all', expected one of none, train, v"),
        ("tatoeba", "--hours long", "^--data_options: --hours: expected a number, found 'long'$"),
        ("mini_covost2", "300", "^--data_options: unexpected argument '300'$"),
    ],
)
def test_a_wrong_option_of_the_corpus_is_told_before_anything_runs(
    own_plan: Callable[..., Plan], kind: str, options: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        own_plan("--corpus_kind", kind, "--system", "e5", "--data_options", options, mine="")


def test_the_preparation_gets_what_the_recipe_gives(own_plan: Callable[..., Plan]) -> None:
    words = ("--corpus_kind", "tatoeba", "--system", "e5", "--nj", "3", "--data_options", "--hours 2 --num-dev=9")
    options = own_plan(*words, "--datadir", "d", "--downloads", "l", mine="").data_options
    assert options == TatoebaOptions(langs="de", datadir="d", downloads="l", nj=3, hours=2.0, num_dev=9)


def test_stage_data_notices_what_the_corpus_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EGS / "covost2")
    table = write(tmp_path / "downloads/covost2/covost_v2.de_en.tsv")
    archive = Path(write(tmp_path / "downloads/common_voice/cv-corpus-4-de.tar.gz", "abc"))
    os.utime(archive, (1, 1_600_000_000))
    words = [
        "--langs",
        "de",
        "--corpus_kind",
        "covost2",
        "--llm",
        "some/big",
        "--downloads",
        str(tmp_path / "downloads"),
    ]
    stage = data_stage(make_plan(words))
    places = f"common_voice={tmp_path}/downloads/common_voice covost2={tmp_path}/downloads/covost2"
    assert stage.settings == f"langs=de {places} data_options= files= {archive.name}:3:1600000000"
    assert stage.inputs == (table,)  # (the settings are, to the letter, those of markers of older runs)
    command = stage.jobs[0].command
    assert command[0] == "local/data.sh"
    assert command[-4:] == ("--common_voice", f"{archive.parent}", "--covost2", f"{tmp_path}/downloads/covost2")


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("covost2", "", {"common_voice": "downloads/common_voice", "covost2": "downloads/covost2"}),
        ("covost2", "--covost2 /c", {"common_voice": "downloads/common_voice", "covost2": "/c"}),
        ("mini_covost2", "", {}),
        ("", "", {}),
        ("", "--common_voice /v", {"common_voice": "/v"}),
    ],
)
def test_a_corpus_is_where_the_user_says_or_below_downloads(
    own_plan: Callable[..., Plan], kind: str, given: str, expected: dict[str, str]
) -> None:
    assert own_plan("--corpus_kind", kind, "--system", "e5", *given.split(), mine="").places == expected


def test_a_corpus_below_the_recipe_is_named_from_there(own_plan: Callable[..., Plan], tmp_path: Path) -> None:
    here = tmp_path / "recipe"
    write(here / "downloads/covost2/covost_v2.de_en.tsv")
    for downloads in ("downloads", f"{here}/downloads"):
        words = ("--corpus_kind", "covost2", "--system", "e5", "--downloads", downloads)
        stage = data_stage(own_plan(*words, mine=""))
        assert stage.inputs == ("downloads/covost2/covost_v2.de_en.tsv",)
        assert "common_voice=downloads/common_voice covost2=downloads/covost2" in stage.settings
