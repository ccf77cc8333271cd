"""Stage 0 renders every prompt that stages use hours later, and looks for the tokenizers of the scores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.files import write_table
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight.comet import check_comet
from speechllama.recipe.preflight.prompts import check_prompts
from speechllama.recipe.preflight.run import CheckedRun
from test.recipe.preflight.conftest import MakeRun

OwnPlan = Callable[..., Plan]
SHARED = "include: train.yaml\n"  # a conf/train.yaml that changes nothing


def check(plan: Plan, *finished: str) -> tuple[list[str], list[str]]:
    """Lines and faults."""
    lines: list[str] = []
    faults: list[str] = []
    check_prompts(CheckedRun(plan, frozenset(finished)), lines, faults)
    return lines, faults


def test_a_run_shows_its_prompts(checked_run: MakeRun) -> None:
    lines: list[str] = []
    faults: list[str] = []
    check_prompts(checked_run("covost2", "--system", "e6", "--llm", "some/llm"), lines, faults)
    assert faults == []
    assert lines[-1] == (
        "prompt of ../TEMPLATE/conf/e6.yaml: prompt_conf, de to en, fr to en: "
        "Translate the speech to English: {audio} English:"
    )


@pytest.mark.parametrize(
    ("conf", "words", "message"),
    [
        ('{template: "Say {what}: {audio}"}', "", "must hold {audio} once and no field but {audio}"),
        ('{template: "{language}: {audio}"}', "--langs xx", "unknown language 'xx', expected one of af, "),
        ('{by_language: {de: "From {source}: {audio}"}}', "", "'From {source}: {audio}' must hold {audio} once"),
        ('{template: "To German: {audio}"}', "--task asr", r"give that task its own: by_task: {asr: 'Write down"),
        ('{by_language: {de: "German: {audio}"}}', "--task asr", "the prompt 'German: {audio}' is for the task st"),
        ('{by_task: {sing: "{audio}"}}', "", "by_task: unknown task 'sing', expected one of st, asr"),
    ],
)
def test_a_prompt_that_a_later_stage_would_refuse_is_a_fault(
    own_plan: OwnPlan, conf: str, words: str, message: str
) -> None:
    _, faults = check(own_plan("--system", "e5", *words.split(), train=f"include: train.yaml\nprompt_conf: {conf}\n"))
    assert len(faults) == 1 and message in faults[0] and "train" not in faults[0].partition(":")[0]


def test_names_of_languages_are_settings(own_plan: OwnPlan) -> None:
    conf = 'prompt_conf: {template: "{language} to {target}: {audio}", language_names: {xx: Toylish, zh: Mandarin}}'
    plan = own_plan("--system", "e5", "--langs", "xx de", "--target_lang", "zh", train=f"include: train.yaml\n{conf}\n")
    lines, faults = check(plan)
    assert faults == [] and [line.rpartition("prompt_conf, ")[2] for line in lines] == [
        "xx to zh: Toylish to Mandarin: {audio}",
        "de to zh: German to Mandarin: {audio}",
    ]


def test_each_task_has_its_own_prompt(own_plan: OwnPlan) -> None:
    conf = 'include: train.yaml\nprompt_conf: {template: "To German: {audio}", by_task: {asr: "Type: {audio}"}}\n'
    for task, prompt in (("st", "To German: {audio}"), ("asr", "Type: {audio}")):
        lines, faults = check(own_plan("--system", "e5", "--task", task, train=conf))
        assert faults == [] and lines[0].endswith(f": {prompt}")


def test_prompts_of_the_data_are_rendered_with_the_languages_of_each_utterance(
    own_plan: OwnPlan, tmp_path: Path
) -> None:
    plan = own_plan("--system", "e5", "--datadir", str(tmp_path / "data"), train=SHARED)
    for name in ("train", "dev", "test"):
        write_table(tmp_path / f"data/{name}/utt2lang", {"a": "en", "b": "en"})
        write_table(tmp_path / f"data/{name}/utt2target", {"a": "de", "b": "zh-CN"})
    lines, faults = check(plan, "data")
    assert faults == [] and len(lines) == 2 and "en to zh-CN: Translate the speech to Chinese: {audio}" in lines[1]
    write_table(tmp_path / "data/test/prompt", {"a": "Say {audio}", "b": "{sing} {audio}"})
    _, faults = check(plan, "data")
    assert len(faults) == 1 and "'{sing} {audio}' must hold {audio} once" in faults[0]


def test_several_targets_need_a_prompt_that_names_them(own_plan: OwnPlan) -> None:
    words = ("--corpus_kind", "covost2", "--direction", "en_x", "--langs", "de ca", "--system")
    conf = 'include: train.yaml\nprompt_conf: {template: "Translate: {audio}"}\n'
    _, faults = check(own_plan(*words, "e5", train=conf))
    assert len(faults) == 1 and "the same for the targets ca, de" in faults[0] and "put {target} into" in faults[0]
    _, faults = check(own_plan(*words, "b1"))
    assert len(faults) == 1 and "an encoder-decoder has no prompt that says which language to write" in faults[0]
    lines, faults = check(own_plan(*words, "e5", train=SHARED))
    assert faults == []
    assert [line.partition("prompt_conf, ")[2] for line in lines] == [
        "en to de: Translate the speech to German: {audio} German:",
        "en to ca: Translate the speech to Catalan: {audio} Catalan:",
    ]


def test_a_tokenizer_of_bleu_that_is_not_installed_is_a_fault(
    own_plan: OwnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    name = "sacrebleu.tokenizers.tokenizer_ja_mecab"  # read anew, and afterwards what it was
    monkeypatch.setitem(sys.modules, name, sys)
    monkeypatch.delitem(sys.modules, name)
    _, faults = check(own_plan("--system", "e5", "--target_lang", "ja", train=SHARED))
    assert len(faults) == 1 and "BLEU of Japanese needs the tokenizer ja-mecab" in faults[0]
    assert "pip install -e '.[ja]'" in faults[0]
    assert check(own_plan("--system", "e5", "--target_lang", "ja", "--stop_stage", "8", train=SHARED))[1] == []


def test_the_tokenizer_that_is_asked_for_is_built_in_place_of_the_target_s(own_plan: OwnPlan) -> None:
    words = ("--system", "e5", "--target_lang", "zh", "--bleu_tokenizer")
    assert check(own_plan(*words, "char", train=SHARED))[1] == []
    _, faults = check(own_plan(*words, "moses", train=SHARED))
    assert len(faults) == 1 and "unknown tokenizer 'moses', expected one of none, zh, 13a" in faults[0]


def test_an_environment_without_comet_is_a_fault(own_plan: OwnPlan) -> None:
    words = ("--system", "e5", "--comet_model", "organisation/name")
    lines: list[str] = []
    faults: list[str] = []
    check_comet(CheckedRun(own_plan(*words, train=SHARED)), lines, faults)
    assert not lines and len(faults) == 1 and "no unbabel-comet in " in faults[0] and "pip install" in faults[0]
    for more in (("--stop_stage", "8"), ("--task", "asr")):
        check_comet(CheckedRun(own_plan(*words, *more, train=SHARED)), lines, faults)
    assert len(faults) == 1


def test_rescoring_shows_the_prompts_of_the_system_it_rescores(own_plan: OwnPlan) -> None:
    conf = 'include: train.yaml\nprompt_conf: {template: "To German: {audio}"}\n'
    for rescored in ("b1", "e5"):
        lines, faults = check(own_plan("--system", "mine", mine=f"rescore_system: {rescored}\n", train=conf))
        assert faults == [] and lines[-1] == "prompt of conf/mine.yaml: prompt_conf, de to en: To German: {audio}"
