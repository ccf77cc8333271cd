"""A corpus that only its recipe knows: where it is, what makes stage data stale, what stage preflight says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin import plan as entry
from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight.checks import Report, check_corpus
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.remembered import corpus_setting, remembered_corpus
from speechllama.recipe.stages import Stage

OwnPlan = Callable[..., Plan]


def data_stage(plan: Plan) -> Stage:
    """The row of stage data."""
    return next(stage for _, stage in plan.stages() if stage.name == "data")


@pytest.mark.parametrize(
    "place", ["/a/b", "/my corpora/it's here", "downloads/x", 'a "b" c', "https://example.org/x?y=1"]
)
def test_the_place_is_one_word_whatever_is_in_it_and_is_remembered(own_plan: OwnPlan, place: str) -> None:
    stage = data_stage(own_plan("--system", "e5", "--corpus", place, mine=""))
    assert stage.jobs[0].command[-2:] == ("--corpus", place)
    assert stage.settings == f"langs=de{corpus_setting(place)} data_options="
    Path("data").mkdir()
    Path("data/.data.done.begun").write_text(f"settings: {stage.settings}\ninput: 1 2 local/data.sh\n")
    assert remembered_corpus("data") == place
    again = own_plan("--system", "e5", mine="")
    assert data_stage(again).settings == stage.settings and again.options.corpus == place
    assert own_plan("--system", "e5", "--corpus", "/other", mine="").options.corpus == "/other"
    assert own_plan("--system", "e5", "--datadir", "elsewhere", mine="").options.corpus == ""


def test_a_recipes_own_scripts_are_inputs_of_stage_data(own_plan: OwnPlan, make_recipe: Callable[..., Path]) -> None:
    folder = make_recipe(mine="")
    for name in ("data.sh", "prepare.py", "lists/test.txt", "__pycache__/prepare.pyc", ".prepare.py.swp"):
        (folder / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "local" / name).write_text("x")
    scripts = ("local/data.sh", "local/lists/test.txt", "local/prepare.py")
    assert data_stage(own_plan("--system", "e5", mine="")).inputs == scripts
    known = data_stage(own_plan("--system", "e5", "--corpus_kind", "mini_covost2", mine=""))
    assert known.inputs == ()  # its script only calls the package; markers of older runs stay valid


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "covost2",
            r"^--corpus: the corpus covost2 has no .*; where it is, say --common_voice and --covost2$",
        ),
        ("mini_covost2", r"^--corpus: the corpus mini_covost2 has no such option \(local/data.sh --help\)$"),
    ],
)
def test_a_corpus_with_options_of_its_own_refuses_the_general_one(own_plan: OwnPlan, kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        own_plan("--corpus_kind", kind, "--system", "e5", "--corpus", "/x", mine="")


def test_a_missing_corpus_and_a_missing_script_are_told_by_the_preflight(own_plan: OwnPlan, tmp_path: Path) -> None:
    def faults(*words: str) -> list[str]:
        report = Report()
        check_corpus(CheckedRun(own_plan("--system", "e5", *words, mine="")), report)
        return report.faults

    assert faults() == [
        "local/data.sh: is not there, nor is local/prepare.py; it prepares the corpus, see docs/your_own_corpus.md"
    ]
    script = tmp_path / "recipe/local/data.sh"
    script.parent.mkdir()
    (script.parent / "prepare.py").write_text("pass\n")
    assert faults() == []
    stage = data_stage(own_plan("--system", "e5", mine=""))
    assert stage.jobs[0].command[:2] == ("python3", "local/prepare.py")
    script.write_text("#!/bin/sh\n")
    assert faults() == ["local/data.sh: cannot be run (chmod +x); it prepares the corpus, see docs/your_own_corpus.md"]
    script.chmod(0o755)
    assert faults("--corpus", str(tmp_path)) == faults("--corpus", "https://example.org/x") == []
    (fault,) = faults("--corpus", "none/here")
    assert fault.startswith("--corpus none/here: no such folder or file, seen from where you are or from ")


def test_missing_sentence_pairs_are_told_by_the_preflight(own_plan: OwnPlan) -> None:
    report = Report()
    words = ("--corpus_kind", "tatoeba", "--system", "e5", "--data_options", "--plain_text /none.txt")
    check_corpus(CheckedRun(own_plan(*words, mine="")), report)
    assert len(report.faults) == 2
    assert "de: no sentence pairs; expected downloads/pairs/deu-eng" in report.faults[0]
    assert report.faults[1] == "--plain_text /none.txt: no such file or folder"


@pytest.mark.parametrize(
    ("kind", "offered"), [("", {"--corpus"}), ("covost2", {"--common_voice", "--covost2"}), ("tatoeba", set())]
)
def test_the_help_offers_only_the_places_that_the_corpus_has(
    kind: str, offered: set[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    settings = ["--langs", "de", *(["--corpus_kind", kind] if kind else [])]
    assert entry.main(["run", "/", str(len(settings)), *settings, "--help"]) == 0
    words = set(capfdbinary.readouterr().out.decode().split())
    assert words & {"--corpus", "--common_voice", "--covost2", "--librispeech"} == offered


def test_the_corpus_is_named_from_where_the_user_is(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    make_recipe: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "user/my corpus").mkdir(parents=True)
    monkeypatch.chdir(make_recipe(mine=""))
    words = ["--langs", "de", "--llm", "some/llm", "--system", "e5", "--corpus", "my corpus"]
    assert entry.main(["run", str(tmp_path / "user"), "0", *words]) == 0
    assert f"\0--corpus\0{tmp_path}/user/my corpus\0" in capfdbinary.readouterr().out.decode()
