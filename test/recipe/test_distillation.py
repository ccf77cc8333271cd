"""Runs with a teacher: the LLM that reads transcripts, or another system whose texts are learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.llm.text_llm import TextLLMConfig
from speechllama.model.meta_model import read_architecture
from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight import schedule
from speechllama.recipe.preflight.amounts import Amount
from speechllama.recipe.preflight.checks import own_architecture
from speechllama.recipe.preflight.fit import check_mixtures, check_texts
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import find_trainings
from speechllama.recipe.table import TablePlan, plan_table
from test.recipe.conftest import EGS, MINI_SETTINGS, MakePlan, commands, value_of

SOURCE = "src_text,src_text,text"


def test_a_system_whose_llm_teaches_also_reads_the_transcripts(mini_plan: MakePlan) -> None:
    taught = {
        system: [any(word.endswith(SOURCE) for word in commands(mini_plan("--system", system), stage)[-1])
                 for stage in ("train", "lora")]
        for system in ("e6", "e6_kl")
    }  # fmt: skip
    assert taught == {"e6": [False, False], "e6_kl": [True, True]}
    plan = mini_plan("--system", "e6_kl")
    inputs = {stage.name: stage.inputs for _, stage in plan.stages()}
    for stage in ("train", "lora"):
        assert sum(path.endswith("/src_text") for path in inputs[stage]) == 2  # of train and dev
    assert plan.layout.init_dir == "exp/st_e5_kl"


def test_each_yaml_says_whether_its_own_training_is_taught(own_plan: Callable[..., Plan]) -> None:
    plan = own_plan("--system", "t", t="include: e6.yaml\ndistill_conf: {weight: 0.5}\n")
    found = {stage: any(word.endswith(SOURCE) for word in commands(plan, stage)[-1]) for stage in ("train", "lora")}
    assert found == {"train": False, "lora": True}


def test_stage_0_says_what_cannot_teach(mini_plan: MakePlan) -> None:
    run, faults = CheckedRun(mini_plan("--system", "e5_kl", "--task", "asr")), list[str]()
    trainings = find_trainings(run, read_architecture(EGS / "covost2/conf/llm/tinyllama_1.1b.json"), faults)
    assert not faults
    check_mixtures(run, trainings, faults)
    assert len(faults) == 1 and "e5_kl.yaml: distill_conf: the task asr writes the transcript" in faults[0]


def test_stage_0_knows_a_student(mini_plan: MakePlan) -> None:
    faults: list[str] = []
    run = CheckedRun(mini_plan("--system", "e5_distilled"))
    trainings = find_trainings(run, read_architecture(EGS / "covost2/conf/llm/tinyllama_1.1b.json"), faults)
    check_mixtures(run, trainings, faults)
    assert not faults and [training.stage for training in trainings] == ["ctc", "train"]


def test_stage_0_counts_what_a_teacher_costs(mini_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a second for each pass of the LLM: a step, a prefix, a token."""
    monkeypatch.setattr(schedule, "llm_seconds", lambda *_: (1.0, 1.0, 1.0))
    for name in ("audio_encoder_seconds", "reading_seconds", "feature_seconds"):
        monkeypatch.setattr(schedule, name, lambda *_: 1.0)
    amounts = {name: Amount(720, 3600.0) for name in ("train", "dev", "test")}

    def rows(system: str) -> dict[str, float]:
        run, faults = CheckedRun(mini_plan("--system", system)), list[str]()
        assert run.plan.layout.llm
        architecture = own_architecture(run.plan.layout.llm, TextLLMConfig)
        trainings = find_trainings(run, architecture, faults)
        found = schedule.estimate_times(run, trainings, architecture, amounts)
        return {stage: float(time.split()[0]) * (60 if time.endswith("h") else 1) for stage, _, time in found}

    plain, taught, student = map(rows, ("e5", "e5_kl", "e5_distilled"))
    shape = CheckedRun(mini_plan("--system", "e5")).typical
    whole = shape.num_positions / (shape.num_positions - shape.num_text)  # the teacher reads the text, too
    assert taught["train"] / plain["train"] == pytest.approx((2.0 + whole) / 2.0, rel=0.05)
    assert "teach" not in plain and student["teach"] == pytest.approx(student["decode"] / 2, rel=0.05)


def test_stage_0_looks_for_the_transcripts_that_a_teacher_reads(mini_plan: MakePlan, tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / name).mkdir()
        for table in ("utt2spk", "text"):
            (tmp_path / name / table).write_text("a b\n")
    for system, number in (("e6", 0), ("e6_kl", 2)):
        faults: list[str] = []
        check_texts(CheckedRun(mini_plan("--system", system, "--datadir", str(tmp_path))), faults)
        assert len(faults) == number
        assert all("distill_conf: the teacher reads" in fault and "there is none" in fault for fault in faults)
    for name in ("train", "dev"):
        (tmp_path / name / "src_text").write_text("a b\n")  # the translations
    for words, what in ((("--system", "e6_kl"), "distill_conf"), (("--system", "e6", "--task", "cot"), "--task cot")):
        faults = []
        check_texts(CheckedRun(mini_plan(*words, "--datadir", str(tmp_path))), faults)
        assert [fault.partition("src_text ")[2] for fault in faults] == [
            f"has the translations, so there are no transcripts, which {what} needs"
        ] * 2


FRAMES = "exp/ctc_transcript_bpe120/compressed_frame_average"
TAUGHT = f"{FRAMES}/train_by_st_e6_beam4"


def test_a_teacher_is_trained_and_writes_the_texts_that_its_student_learns(mini_plan: MakePlan) -> None:
    plan = mini_plan("--system", "e5_distilled", "--decode_nj", "1")
    found = [(each[0], value_of(each, "output_dir")) for each in commands(plan, "teach") if "--output_dir" in each]
    assert found == [
        ("llm_train", "exp/st_e5"),
        ("average_checkpoints", "exp/st_e6/init"),
        ("llm_train", "exp/st_e6"),
        ("average_checkpoints", "exp/st_e6"),
        ("decode", "exp/st_e6/teach_train_beam4"),
        ("take_texts", TAUGHT),
    ]
    *_, decode, take = commands(plan, "teach")
    assert (value_of(decode, "exp_dir"), value_of(decode, "data_dir")) == ("exp/st_e6", f"{FRAMES}/train")
    assert value_of(decode, "control") == "false"
    assert (value_of(take, "decode_dir"), value_of(take, "data_dir")) == (
        value_of(decode, "output_dir"),
        f"{FRAMES}/train",
    )
    assert value_of(take, "table") == "text"
    count, train = commands(plan, "train")
    assert value_of(train, "output_dir") == "exp/st_e5_distilled"
    assert f"{TAUGHT}/text,text,text" in train and f"{TAUGHT}/compressed.scp,compressed,kaldi_ark" in train
    assert f"{FRAMES}/dev/text,text,text" in train  # dev keeps its references
    assert not any(word.startswith(f"{FRAMES}/train/") for word in train)
    assert [*count[count.index("--data_dir") + 1 :][:2]] == [TAUGHT, f"{FRAMES}/dev"]
    rows = [row for number, row in plan.stages() if number == 8]
    assert [row.name for row in rows] == ["teach"] * 5 + ["train"]
    assert rows[-1].settings.endswith("teacher=e6 beam_size=4 decode_options=")
    assert f"{TAUGHT}/text" in rows[-1].inputs and f"{TAUGHT}/text" in rows[-2].outputs
    assert {"exp/st_e6", "exp/st_e5"} <= {*plan.shared_dirs()}


def test_options_of_the_students_trials_are_not_its_teachers(mini_plan: MakePlan) -> None:
    words = ("--tag", "x", "--train_options", "--max_epoch 9", "--beam_size", "1", "--sets", "dev", "--seed", "2")
    plan = mini_plan("--system", "e5_distilled", *words)
    assert plan.teacher and plan.teacher.layout.base_dir == "exp/st_e6_seed2"
    assert not any("--max_epoch" in each for each in commands(plan, "teach"))
    assert "--max_epoch" in commands(plan, "train")[-1]
    assert plan.layout.base_dir == "exp/st_e5_distilled_seed2_x"
    (take,) = [each for each in commands(plan, "teach") if each[0] == "take_texts"]
    assert value_of(take, "decode_dir") == "exp/st_e6_seed2/teach_train_beam4"


def test_a_teacher_that_is_trained_is_taken_as_it_is(own_plan: Callable[..., Plan]) -> None:
    search = "{beam_size: 2, decode_options: --max_tokens 50}"
    confs = {"s": f"include: e5.yaml\nteacher_system: e6\nteacher_conf: {search}\n"}
    plan = own_plan("--system", "s", **confs)
    before = [row for number, row in plan.stages() if number == 8]
    path = Path(plan.teacher.layout.base_dir, "model.pth") if plan.teacher else Path()
    path.parent.mkdir(parents=True)
    path.write_text("weights")
    after = [row for number, row in own_plan("--system", "s", **confs).stages() if number == 8]
    jobs = [job.command[2:] for row in after[:-1] for job in row.jobs]
    assert [job[0].rpartition(".")[2] for job in jobs] == ["decode", "merge_decoded", "take_texts"]
    assert value_of(jobs[0], "beam_size") == "2" and value_of(jobs[0], "max_tokens") == "50"
    assert [bool(row.skip) for row in after] == [True] * 3 + [False] * 3
    for one, other in zip(before, after, strict=True):  # so that a training that was begun is continued
        assert (one.marker, one.inputs, one.outputs) == (other.marker, other.inputs, other.outputs)


def test_a_teacher_may_be_built_on_something_else(mini_plan: MakePlan, own_plan: Callable[..., Plan]) -> None:
    own = mini_plan("--system", "e5")
    assert own.teacher is None and not commands(own, "teach")
    confs = {"b1": "model: seq2seq\ntarget_units: 50\n", "s": "include: e1.yaml\nteacher_system: b1\n"}
    plan = own_plan("--system", "s", **confs)
    names = [each[0] for each in commands(plan, "teach")]
    assert names[:2] == ["train_tokenizer", "collect_stats"] and "seq2seq_train" in names
    *_, decode, _, take = commands(plan, "teach")
    assert value_of(decode, "data_dir") == "dump/train"  # an encoder-decoder reads features
    assert "compressed_blank_removal/train_by_st_b1_beam4" in value_of(take, "output_dir")


def test_the_stage_lora_of_a_student_reads_the_teachers_texts_where_its_yaml_says_so(
    own_plan: Callable[..., Plan],
) -> None:
    confs = {"s5": "include: e5.yaml\nteacher_system: e1\n", "s": "include: e6.yaml\ninit_system: s5\n"}
    plan = own_plan("--system", "s", **confs)
    taught = [any("train_by_st_e1" in word for word in commands(plan, stage)[-1]) for stage in ("train", "lora")]
    assert taught == [True, False]
    plan = own_plan("--system", "s", **{**confs, "s": confs["s"] + "teacher_system: e1\n"})
    taught = [any("train_by_st_e1" in word for word in commands(plan, stage)[-1]) for stage in ("train", "lora")]
    assert taught == [True, True] and len([each for each in commands(plan, "teach") if each[0] == "take_texts"]) == 1


def test_a_student_that_writes_the_transcripts_of_a_cascade_learns_transcripts(own_plan: Callable[..., Plan]) -> None:
    confs = {"c": "transcribe_system: s\n", "s": "include: e5.yaml\nteacher_system: e6\n"}
    plan = own_plan("--system", "c", **confs)
    take = commands(plan, "teach")[-1]
    assert value_of(take, "table") == "src_text" and "asr_e6" in value_of(take, "decode_dir")
    assert value_of(commands(plan, "train")[-1], "task_name") == "asr"


@pytest.mark.parametrize(
    ("words", "confs", "message"),
    [
        ((), {"s": "include: e5.yaml\nteacher_conf: {beam_size: 1}\n"}, "teacher_conf would be ignored"),
        ((), {"s": "include: e5.yaml\nteacher_system: e6\nteacher_conf: {beam: 1}\n"}, "unknown key 'beam'"),
        ((), {"s": "include: e5.yaml\nteacher_system: e6\nteacher_conf: {beam_size: 0}\n"}, "expected at least 1"),
        ((), {"s": "include: e5.yaml\nteacher_system: e6\nteacher_conf: {decode_options: --x 1}\n"}, "--x"),
        ((), {"s": "model: seq2seq\ntarget_units: 50\nteacher_system: e6\n"}, "a student is a system with an LLM"),
        ((), {"s": "include: e5.yaml\nteacher_system: e9\n"}, "no system 'e9'"),
        ((), {"s": "include: e5.yaml\nteacher_system: s\n"}, "name a system that learns references itself"),
        ((), {"s": "include: e5.yaml\nteacher_system: cascade\n"}, "name a system that learns references itself"),
        ((), {"s": "include: e5.yaml\nteacher_system: ctc\n"}, "name a system that learns references itself"),
        (("--task", "cot"), {}, "--task cot has several; give --task st or asr"),
        (("--task", "lid"), {}, "--task lid has labels; give --task st or asr"),
        (
            (),
            {
                "s": "include: e6.yaml\ninit_system: t\nteacher_system: e6\n",
                "t": "include: e5.yaml\nteacher_system: e1\n",
            },
            "it starts from t, whose teacher e1 is another one",
        ),
        (("--train_options", "--teacher_system e6"), {}, "which the stages must know: write it into a system's YAML"),
        (("--train_options", "--distill_conf weight=0.5"), {}, "which the stages must know: write it into a system's"),
    ],
)
def test_what_cannot_teach_or_be_taught_is_refused(
    own_plan: Callable[..., Plan], words: tuple[str, ...], confs: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        own_plan("--system", "s", *words, **{"s": "include: e5.yaml\nteacher_system: e6\n", **confs})


def test_a_student_is_a_row_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(EGS / "mini_covost2")
    words = ["--systems", "E6 e5_quarter e5_distilled", "--reference", "E6", "--expdir", str(tmp_path)]
    table: TablePlan = plan_table(words, (), MINI_SETTINGS)
    rows = {paths.row: paths.decode_dir.removeprefix(f"{tmp_path}/") for paths in table.run_paths()}
    assert rows == {name: f"st_{name}/decode_test_beam4" for name in ("e6", "e5_quarter", "e5_distilled")}
