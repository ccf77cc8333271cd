"""Target languages in the plan of a run: its folders, its commands, and what the data say of single utterances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.files import write_table
from speechllama.options import UsageError
from speechllama.recipe.plan import Plan, make_plan
from speechllama.text.tasks import ACCURACY, TASKS, Task
from test.recipe.conftest import EGS, MakePlan, commands, value_of

OwnPlan = Callable[..., Plan]
COVOST2 = ("--corpus_kind", "covost2", "--langs", "de zh-CN", "--llm", "some/llm")


@pytest.fixture
def covost2_plan(monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Plan a run of covost2 from the user's words."""
    monkeypatch.chdir(EGS / "covost2")
    return lambda *words: make_plan(words, COVOST2)


@pytest.mark.parametrize(
    ("words", "folder", "pairs"),
    [
        ("", "data", (("de", "en"), ("zh-CN", "en"))),
        ("--target_lang fr", "data_fr", (("de", "fr"), ("zh-CN", "fr"))),
        ("--direction en_x", "data_en_x", (("en", "de"), ("en", "zh-CN"))),
        ("--direction en_x --target_lang ja", "data_en_ja", (("en", "ja"),)),
        ("--direction en_x --datadir mine", "mine", (("en", "de"), ("en", "zh-CN"))),
    ],
)
def test_each_direction_has_folders_of_its_own(
    covost2_plan: MakePlan, words: str, folder: str, pairs: tuple[tuple[str, str], ...]
) -> None:
    plan = covost2_plan(*words.split())
    assert (plan.options.datadir, plan.options.language_pairs) == (folder, pairs)
    data = next(row for _, row in plan.stages() if row.name == "data")
    is_from_english = "en_x" in words
    assert ("--direction" in data.jobs[0].command) == is_from_english == (" direction en_x" in data.settings)


def test_the_tokenizer_of_bleu_is_an_option_of_stage_score_whose_marker_names_it(mini_plan: MakePlan) -> None:
    usual, other = (
        next(row for _, row in plan.stages() if row.name == "score")
        for plan in (mini_plan(), mini_plan("--bleu_tokenizer", "intl"))
    )
    assert other.jobs[0].command[-2:] == ("--bleu_tokenizer", "intl") and other.settings == "bleu_tokenizer=intl"
    assert "--bleu_tokenizer" not in usual.jobs[0].command and usual.settings == ""


def test_comet_is_a_job_of_stage_score_and_recognition_has_none(mini_plan: MakePlan) -> None:
    words = ("--comet_model", "Unbabel/wmt22-comet-da@abc", "--comet_python", "/env/bin/python", "--ngpu", "1")
    stage = next(row for _, row in mini_plan(*words).stages() if row.name == "score")
    comet = stage.jobs[0]
    assert (comet.kind, comet.command[2]) == ("gpu", "speechllama.bin.score_comet") and len(stage.jobs) == 3
    assert comet.command[-6:] == ("--model", words[1], "--python", words[3], "--ngpu", "1")
    assert stage.settings == "comet_model=Unbabel/wmt22-comet-da@abc"
    recognition = next(row for _, row in mini_plan(*words, "--task", "asr").stages() if row.name == "score")
    assert len(recognition.jobs) == 2 and recognition.settings == ""
    with pytest.raises(
        UsageError, match="--comet_model: 'wmt22' is no file or directory, nor a repository on the hub such as"
    ):
        mini_plan("--comet_model", "wmt22")


def test_only_covost2_has_directions(mini_plan: MakePlan) -> None:
    with pytest.raises(UsageError, match="--direction en_x: only CoVoST 2 has it"):
        mini_plan("--direction", "en_x")


def test_a_table_of_targets_is_read_where_the_data_have_one(own_plan: OwnPlan, tmp_path: Path) -> None:
    words = ("--system", "e5", "--datadir", str(tmp_path / "data"))
    [_, train] = commands(own_plan(*words, train="include: train.yaml\n"), "train")
    assert not any("utt2target" in word for word in train)
    for name in ("train", "dev"):
        write_table(tmp_path / "data" / name / "utt2target", {"a": "de"})
    plan = own_plan(*words, train="include: train.yaml\n")
    [_, train] = commands(plan, "train")
    assert [word.partition("/compressed_frame_average/")[2] for word in train if "utt2target" in word] == [
        f"{name}/utt2target,target,text" for name in ("train", "dev")
    ]
    rows = {row.name: row for _, row in plan.stages()}
    for name in ("features", "train"):
        assert any(path.endswith("train/utt2target") for path in rows[name].inputs), "a changed table makes it stale"


def test_a_changed_table_of_labels_makes_the_features_stale(
    mini_plan: MakePlan, tmp_path: Path, add: Callable[..., Task]
) -> None:
    write_table(tmp_path / "data/train/utt2mood", {"a": "calm"})
    words = ("--datadir", str(tmp_path / "data"))

    def inputs() -> list[str]:
        row = next(row for _, row in mini_plan(*words).stages() if row.name == "features")
        return [path for path in row.inputs if path.endswith("utt2mood")]

    assert inputs() == []
    labels = "speechllama.text.tasks:same"
    add(TASKS, Task("mood", "Mood", "utt2mood", "{audio} Mood:", (ACCURACY,), "", labels=labels))
    assert inputs() == [str(tmp_path / "data/train/utt2mood")]


def test_the_recipes_own_llm_and_the_tuning_of_rescoring_get_the_target_language(own_plan: OwnPlan) -> None:
    for words, language in (((), "en"), (("--target_lang", "ja"), "ja")):
        plan = own_plan("--system", "b2", "--llm", "", *words, llm="vocab_size: 100\n")
        for stage, name in (("llm", "train_text_llm"), ("tune", "tune_rescoring")):
            command = next(each for each in commands(plan, stage) if each[0] == name)
            assert ("--target_lang" in command) == (language != "en"), "English is the default"
            assert language == "en" or value_of(command, "target_lang") == language


def test_rescoring_and_the_recipes_own_llm_get_the_prompts_that_the_systems_share(own_plan: OwnPlan) -> None:
    conf = 'include: train.yaml\nprompt_conf: {template: "To German: {audio}"}\n'
    words = ("--system", "b2", "--llm", "")
    plan = own_plan(*words, train=conf, llm="vocab_size: 100\n")
    for stage in ("llm", "tune"):
        command = next(each for each in commands(plan, stage) if each[0] in ("train_text_llm", "tune_rescoring"))
        assert value_of(command, "prompt_config") == "conf/train.yaml"
    named = {row.name: row.inputs for _, row in plan.stages()}
    assert "conf/train.yaml" in named["llm"] and "conf/train.yaml" in named["tune"]
    plan = own_plan(*words, train="include: train.yaml\n", llm="vocab_size: 100\n")
    assert not any("--prompt_config" in each for stage in ("llm", "tune") for each in commands(plan, stage))
