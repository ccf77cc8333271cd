"""Runs with a teacher: the LLM that reads transcripts, or another system whose texts are learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechllama.model.meta_model import read_architecture
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight.fit import check_mixtures, check_texts
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import find_trainings
from test.recipe.conftest import EGS, MakePlan, commands

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
