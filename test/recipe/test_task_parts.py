"""Runs and rows of tasks with several parts: transcript and translation in one output, or each when asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.table import TablePlan, plan_table, row_options
from test.recipe.conftest import EGS, MINI_SETTINGS, MakePlan, commands, value_of


def after(command: tuple[str, ...], name: str, number: int) -> tuple[str, ...]:
    """The values of an option that takes several."""
    start = command.index(f"--{name}") + 1
    return command[start : start + number]


def test_outputs_with_several_parts_are_decoded_once_and_scored_apart(mini_plan: MakePlan) -> None:
    plan = mini_plan("--task", "cot", "--decode_nj", "1")
    decode, split, *control = commands(plan, "decode")
    assert value_of(decode, "output_dir") == "exp/cot_e6/output_test_beam4" and "--task" not in decode
    folders = ("exp/cot_e6/decode_test_beam4.asr", "exp/cot_e6/decode_test_beam4")
    assert after(split, "part", 2) == ("asr", "st") and after(split, "part_dir", 2) == folders
    assert value_of(control[0], "output_dir") == "exp/cot_e6/output_test_beam4_control"
    scored = [command for command in commands(plan, "score") if command[0] == "score"]
    assert [(value_of(command, "task"), value_of(command, "hyp_dir")) for command in scored] == [
        ("asr", folders[0]),
        ("st", folders[1]),
    ]
    assert [value_of(command, "control_dir") for command in scored] == [f"{folder}_control" for folder in folders]
    (pack,) = commands(plan, "pack")
    assert value_of(pack, "decode_dir") == "exp/cot_e6/output_test_beam4"


def test_a_system_for_two_tasks_is_decoded_with_the_prompt_of_each(mini_plan: MakePlan) -> None:
    plan = mini_plan("--task", "joint", "--decode_nj", "1")
    asked = [(value_of(command, "task"), value_of(command, "output_dir")) for command in commands(plan, "decode")]
    names = [("asr", "decode_test_beam4.asr"), ("st", "decode_test_beam4")]
    assert asked == [(task, f"exp/joint_e6/{name}{end}") for task, name in names for end in ("", "_control")]
    markers = [stage.marker for _, stage in plan.stages() if stage.name == "decode"]
    assert markers == ["exp/joint_e6/.decode_test_beam4.asr.done", "exp/joint_e6/.decode_test_beam4.done"]
    assert plan.layout.init_dir == "exp/joint_e5"


@pytest.mark.parametrize("task", ["cot", "joint"])
def test_training_reads_the_texts_of_all_parts(mini_plan: MakePlan, task: str) -> None:
    plan = mini_plan("--task", task)
    _, train = commands(plan, "train")
    data = [word.partition("compressed_frame_average/")[2] for word in train if word.endswith(",text")]
    assert data[:2] == ["train/text,text,text", "train/src_text,src_text,text"]
    (stage,) = (stage for _, stage in plan.stages() if stage.name == "train")
    assert sum(path.endswith("/src_text") for path in stage.inputs) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--system", "b1"), "--system b1: the task cot needs an LLM, whose prompt says what to write"),
        (("--system", "ctc"), "--system ctc: the task cot needs an LLM"),
        (("--system", "d"), "--system d: the task cot needs an LLM that knows both languages"),
        (("--system", "b2"), "--system b2: the task cot needs an LLM"),
    ],
)
def test_systems_that_cannot_write_both_are_refused(mini_plan: MakePlan, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        mini_plan("--task", "cot", *words)


def test_hypotheses_with_several_parts_are_not_rescored(own_plan: Callable[..., Plan]) -> None:
    with pytest.raises(UsageError, match="--system r: the task cot has several texts in an output"):
        own_plan("--task", "cot", "--system", "r", r="rescore_system: e5\n")


def test_a_row_with_two_parts_is_two_rows_of_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(EGS / "mini_covost2")
    words = ["--systems", "E6 E6:cot E6:joint", "--reference", "E6", "--expdir", str(tmp_path)]
    table: TablePlan = plan_table(words, (), MINI_SETTINGS)
    found = {paths.row: paths.decode_dir.removeprefix(f"{tmp_path}/") for paths in table.run_paths()}
    assert found == {
        "e6": "st_e6/decode_test_beam4",
        "e6:cot": "cot_e6/decode_test_beam4",
        "e6:cot:asr": "cot_e6/decode_test_beam4.asr",
        "e6:joint": "joint_e6/decode_test_beam4",
        "e6:joint:asr": "joint_e6/decode_test_beam4.asr",
    }
    with pytest.raises(UsageError, match="'e6:cot:asr' names 2 tasks, cot and asr; the row e6:cot has the scores of"):
        row_options("e6:cot:asr", "1")


def test_a_system_with_text_in_its_training_depends_on_the_texts(own_plan: Callable[..., Plan], tmp_path: Path) -> None:
    for pairs, expected in (("", "/train/src_text"), ("text_pairs: pairs.tsv\n", "pairs.tsv")):
        plan = own_plan("--system", "t", "--task", "st", t=f"include: e6.yaml\ntext_share: 0.2\n{pairs}")
        inputs = {stage.name: stage.inputs for _, stage in plan.stages()}
        assert any(path.endswith(expected) for path in inputs["lora"])
        assert not any(path.endswith(expected) for path in inputs["train"])  # E5 has no such batches
