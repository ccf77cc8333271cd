"""What a corpus is made of: files whose change makes stage data stale, and what is known before it is prepared."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.recipe.corpora import CORPORA, Corpus, Request, Sources, find_corpus
from speechllama.recipe.plan import Plan, make_plan
from speechllama.recipe.stages import Stage
from test.recipe.conftest import EGS


def request_of(place: Path, *langs: str, options: str = "") -> Request:
    """What a run asks of a corpus below a folder."""
    places = {"common_voice": f"{place}/cv", "covost2": f"{place}/covost2"}
    return Request(langs, places, f"{place}/downloads", tuple(options.split()))


def write(path: Path, text: str = "x") -> str:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def data_stage(plan: Plan) -> Stage:
    """The row of stage data."""
    return next(stage for _, stage in plan.stages() if stage.name == "data")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ""),
        ("--english half", "half"),
        ("--english=half", "half"),
        ("--english half --english all", "all"),
        ("--nj 3 --english", ""),
        ("--english=a-b=c", "a-b=c"),
        ("--english_only x", ""),
    ],
)
def test_the_last_value_of_an_option_of_the_corpus_counts(options: str, expected: str, tmp_path: Path) -> None:
    assert request_of(tmp_path, "de", options=options).option("english") == expected


def test_a_dash_in_the_name_of_an_option_counts_as_an_underscore(tmp_path: Path) -> None:
    assert request_of(tmp_path, options="--pseudo-labels a-b.tsv").option("pseudo_labels") == "a-b.tsv"
    assert request_of(tmp_path, options="--pseudo-labels=a-b.tsv").option("pseudo_labels") == "a-b.tsv"


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
    assert find(request_of(tmp_path, "de")) == Sources([*clips, tables[0]])
    found = find(request_of(tmp_path, "de", "fr", options=f"--pseudo_labels {labels}"))
    assert found == Sources([*clips, *tables], [archive, labels])
    english = [write(tmp_path / "cv/en" / name) for name in ("validated.tsv", "train.tsv")]
    assert find(request_of(tmp_path, "de", options="--english 100h")).tables == [*clips, tables[0], *english]
    assert find(request_of(tmp_path, "de", options="--english none")).tables == [*clips, tables[0]]


def test_covost2_that_is_not_there_is_made_of_nothing_and_its_estimate_says_so(tmp_path: Path) -> None:
    request = request_of(tmp_path, "de")
    assert CORPORA["covost2"].find_sources(request) == Sources()
    estimate = CORPORA["covost2"].estimate(request)
    assert not estimate.num_rows and any(f"{tmp_path}/" in fault for fault in estimate.faults)
    write(tmp_path / "cv/de/validated.tsv", "client_id\tpath\tsentence\n")
    write(tmp_path / "covost2/covost_v2.de_en.tsv", "path\ttranslation\tsplit\na\tx\ttrain\nb\ty\tdev\n")
    estimate = CORPORA["covost2"].estimate(request)
    assert estimate.num_rows == {"train": 1, "dev": 1} and estimate.faults == []


def test_tatoeba_is_its_pairs_and_its_plain_text(tmp_path: Path) -> None:
    find = CORPORA["tatoeba"].find_sources
    own = write(tmp_path / "downloads/pairs/deu-eng.tsv.gz")
    other = write(tmp_path / "other/deu-eng.tsv")
    text = [write(tmp_path / "texts" / name) for name in ("a.txt", "b.txt")]
    write(tmp_path / "texts/readme")
    assert find(request_of(tmp_path, "de")) == Sources(archives=[own])
    assert find(request_of(tmp_path, "de", options=f"--pairs {tmp_path}/other")).archives == [other]
    assert find(request_of(tmp_path, "de", options=f"--plain_text {tmp_path}/texts")).archives == [own, *text]
    assert find(request_of(tmp_path, "de", options=f"--plain_text={text[0]}")).archives == [own, text[0]]


def test_a_recipe_without_a_record_has_a_corpus_that_only_its_own_script_knows(tmp_path: Path) -> None:
    corpus = find_corpus("")
    assert corpus == Corpus("") and corpus.places == ()
    assert corpus.find_sources(request_of(tmp_path, "de")) == Sources()
    assert not corpus.estimate(request_of(tmp_path, "de")).num_rows


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
    assert stage.settings == f"langs=de {places} data_options= files={archive.name}:3:1600000000"
    assert stage.inputs == (table,)
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
