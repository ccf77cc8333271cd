"""Runs of a cascade: another system's transcripts, then the LLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight.prompts import check_prompts
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.table import plan_table
from test.recipe.conftest import EGS, MINI_SETTINGS, MakePlan, commands, value_of


def test_ctc_writes_the_transcripts_and_the_llm_translates_them(mini_plan: MakePlan) -> None:
    plan = mini_plan("--system", "cascade")
    (own, control), both = commands(plan, "decode"), commands(plan, "translate")
    assert [value_of(each, "output_dir") for each in (own, control)] == [
        "exp/asr_ctc/decode_test_beam1",
        "exp/asr_ctc/decode_test_beam1_control",
    ]
    for written, translated, end in zip((own, control), both, ("", "_control"), strict=True):
        assert value_of(translated, "transcript_dir") == value_of(written, "output_dir")
        assert value_of(translated, "output_dir") == f"exp/st_cascade/decode_test_beam4{end}"
        assert value_of(translated, "llm_dir") == "exp/llm" and value_of(translated, "task") == "st"
    stages = {stage.name: stage for _, stage in plan.stages()}
    assert stages["train"].skip and stages["lora"].skip and stages["pack"].skip and not stages["llm"].skip
    assert "exp/asr_ctc" in plan.shared_dirs()


def test_a_system_that_is_trained_for_recognition_may_write_them(mini_plan: MakePlan) -> None:
    plan = mini_plan("--system", "cascade_e6", "--target_lang", "de", "--langs", "fr es", "--decode_nj", "1")
    (_, train), (_, _, lora) = commands(plan, "train"), commands(plan, "lora")
    assert [value_of(each, "task_name") for each in (train, lora)] == ["asr", "asr"]
    assert [value_of(each, "output_dir") for each in (train, lora)] == ["exp_de/asr_e5", "exp_de/asr_e6"]
    assert value_of(commands(plan, "decode")[0], "output_dir") == "exp_de/asr_e6/decode_test_beam4"
    first = commands(plan, "translate")[0]
    assert (value_of(first, "target_lang"), value_of(first, "transcript_dir")) == (
        "de",
        "exp_de/asr_e6/decode_test_beam4",
    )
    score = commands(plan, "score")[0]
    assert (value_of(score, "task"), value_of(score, "hyp_dir")) == ("st", "exp_de/st_cascade_e6/decode_test_beam4")


def test_the_prompts_of_both_steps_are_shown(mini_plan: MakePlan) -> None:
    lines: list[str] = []
    faults: list[str] = []
    check_prompts(CheckedRun(mini_plan("--system", "cascade_e6")), lines, faults)
    shown = [line.partition(": prompt_conf")[0].rpartition("/")[2] + line.rpartition(":")[0][-30:] for line in lines]
    assert not faults
    assert any("cascade_e6.yaml" in line for line in shown) and any("e6.yaml" in line for line in shown)
    assert sum("Write down the speech" in line for line in lines) == 2  # of E5 and E6
    assert sum("Translate the speech to English" in line for line in lines) == 1


def test_a_cascade_is_a_row_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(EGS / "mini_covost2")
    words = ["--systems", "E6 cascade cascade_e6", "--reference", "E6", "--expdir", str(tmp_path)]
    table = plan_table(words, (), MINI_SETTINGS)
    rows = {paths.row: paths for paths in table.run_paths()}
    found = {name: (paths.base_dir, paths.init_dir, paths.decode_dir, paths.llm_dir) for name, paths in rows.items()}
    own = {name: tuple(place.removeprefix(f"{tmp_path}/") for place in places) for name, places in found.items()}
    assert own == {
        "e6": ("st_e6", "st_e5", "st_e6/decode_test_beam4", "llm"),
        "cascade": ("asr_ctc", "", "st_cascade/decode_test_beam4", "llm"),
        "cascade_e6": ("asr_e6", "asr_e5", "st_cascade_e6/decode_test_beam4", "llm"),
    }


@pytest.mark.parametrize(
    ("words", "confs", "message"),
    [
        (("--task", "asr"), {}, "--system c: a cascade translates, and --task asr does not; drop --task"),
        (("--task", "cot"), {}, "--system c: a cascade translates, and --task cot does not"),
        (("--ctc_target", "translation"), {}, "a cascade needs transcripts, and CTC learns the translation"),
        ((), {"c": "transcribe_system: b2\n"}, "transcribe_system b2: name a system that is trained, as ctc or e6"),
        ((), {"c": "transcribe_system: cascade\n"}, "transcribe_system cascade: name a system that is trained"),
        ((), {"c": "transcribe_system: d\n"}, "transcribe_system d has an LLM of its own, which translates no text"),
        ((), {"c": "transcribe_system: e9\n"}, "no system 'e9'"),
        ((), {"c": "transcribe_system: ctc\nmax_epoch: 3\n"}, "trains nothing, so max_epoch would be ignored"),
    ],
)
def test_what_is_no_cascade_is_refused(
    own_plan: Callable[..., Plan], words: tuple[str, ...], confs: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        own_plan("--system", "c", *words, **{"c": "transcribe_system: ctc\n", **confs})
