"""Prompts: where the audio goes, which ids come around it, and what is refused."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from speechllama.config import from_mapping
from speechllama.llm.files import load_tokenizer
from speechllama.model.old_settings import upgrade_settings
from speechllama.text.prompt import Prompt, PromptConfig, check_template
from speechllama.text.tasks import TASKS
from test.text.test_control_tokens import byte_level_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> object:
    return load_tokenizer(str(tiny_llm))


def test_the_start_token_comes_once_and_first(tokenizer: object) -> None:
    ids = Prompt(PromptConfig("Say {audio} now:"), "st", tokenizer).render()
    assert ids.prompt[0] == 1
    assert 1 not in ids.prompt[1:] + ids.suffix
    assert 2 not in ids.prompt + ids.suffix


def test_the_start_token_comes_after_the_audio_of_a_decoder_from_scratch(tokenizer: object) -> None:
    assert Prompt(PromptConfig("{audio}", start="behind_audio"), "st", tokenizer).render() == ([], [1])
    ids = Prompt(PromptConfig("Say {audio} now:", start="behind_audio"), "st", tokenizer).render()
    assert ids.suffix[-1] == 1 and 1 not in ids.prompt + ids.suffix[:-1]
    with pytest.raises(ValueError, match="prompt start: behind_audio needs a start token"):
        Prompt(PromptConfig(start="behind_audio"), "st", types.SimpleNamespace(bos_token_id=None))
    with pytest.raises(
        ValueError, match="d.yaml: start: unknown value 'behind', expected one of before_prompt, behind_audio"
    ):
        from_mapping(PromptConfig, {"start": "behind"}, "d.yaml")


def test_ids_around_the_audio_are_those_of_one_running_text(tokenizer: object) -> None:
    prompt = Prompt(PromptConfig("Der Hund {audio} the dog:"), "st", tokenizer)
    before, after = prompt.render()
    text = prompt.encode("The boy eats.")
    assert before[1:] + after + text == prompt.encode("Der Hund the dog: The boy eats.")
    assert prompt.decode(before + after + text) == "Der Hund the dog: The boy eats."


def test_each_task_has_its_template(tokenizer: object) -> None:
    rendered = {task: Prompt(PromptConfig(), task, tokenizer).render() for task in ("st", "asr")}
    assert rendered["st"] != rendered["asr"]


def test_a_language_may_have_its_own_template(tokenizer: object) -> None:
    config = PromptConfig("From {language}: {audio}", {"fr": "Du {audio}"})
    prompt = Prompt(config, "st", tokenizer)
    assert prompt.render("de").prompt == [1, *prompt.encode("From German:")]
    assert prompt.render("fr").prompt == [1, *prompt.encode("Du")]


def test_an_utterance_may_have_its_own_template(tokenizer: object) -> None:
    prompt = Prompt(PromptConfig(), "st", tokenizer)
    assert prompt.render("de", "{audio} =").prompt == [1]


def test_a_trained_tokenizer_gives_its_start_token_once(shared_data: Path) -> None:
    tokenizer = load_tokenizer(str(shared_data / "llama" / "stories260K"))
    assert Prompt(PromptConfig(), "st", tokenizer).render().prompt.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("template", ["no audio", "{audio} {audio}", "{audio} {speaker}"])
def test_faulty_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="must hold {audio} once and no field but"):
        check_template(template)


def test_an_unknown_language_is_refused_where_it_is_needed(tokenizer: object) -> None:
    prompt = Prompt(PromptConfig("{language}: {audio}"), "st", tokenizer)
    message = "needs a language: unknown language 'xx', expected one of af, .*; name it in prompt_conf, language_names"
    with pytest.raises(ValueError, match=message):
        prompt.render("xx")


def test_a_language_that_is_not_on_the_list_is_named_in_the_settings(tokenizer: object) -> None:
    values = {"template": "{language} to {target}: {audio}", "language_names": {"qu": "Quechua"}}
    prompt = Prompt(from_mapping(PromptConfig, values, "e5.yaml"), "st", tokenizer)
    assert prompt.render("qu") == Prompt(PromptConfig("Quechua to English: {audio}"), "st", tokenizer).render()
    assert prompt.render("de") == Prompt(PromptConfig("German to English: {audio}"), "st", tokenizer).render()


def test_the_default_prompt_of_translation_into_english_is_the_one_that_older_systems_learned() -> None:
    before, after = Prompt(PromptConfig(), "st", types.SimpleNamespace(bos_token_id=1)).fill(TASKS["st"].prompt)
    assert before + "{audio}" + after == "Translate the speech to English: {audio} English:"


def test_an_unknown_target_is_refused(tokenizer: object) -> None:
    with pytest.raises(ValueError, match="unknown target language 'xx', expected one of .*en"):
        Prompt(PromptConfig(target="xx"), "st", tokenizer)


def test_the_default_templates_are_sound() -> None:
    for template in (task.prompt for task in TASKS.values()):
        check_template(template)


def test_templates_by_language_are_read_from_a_yaml(tokenizer: object) -> None:
    values = {"by_language": {"de": "Der Hund {audio} the dog:"}}
    prompt = Prompt(from_mapping(PromptConfig, values, "e5.yaml"), "st", tokenizer)
    assert prompt.render("de") == Prompt(PromptConfig("Der Hund {audio} the dog:"), "st", tokenizer).render()
    assert prompt.render("fr") == Prompt(PromptConfig(), "st", tokenizer).render()
    with pytest.raises(ValueError, match="e5.yaml: by_language: expected settings .key: value., found 'de'"):
        from_mapping(PromptConfig, {"by_language": "de"}, "e5.yaml")


def test_prompts_of_older_experiments_keep_their_start_token(tokenizer: object) -> None:
    config = from_mapping(PromptConfig, upgrade_settings({"prompt_conf": {"template": "{audio}"}})["prompt_conf"], "")
    assert config.start_token == "bos"
    assert Prompt(config, "st", byte_level_tokenizer()).render().prompt == [0]
    assert Prompt(PromptConfig("{audio}"), "st", byte_level_tokenizer()).render().prompt == []
    assert Prompt(PromptConfig("{audio}"), "st", tokenizer).render().prompt == [1]  # of LLaMA's kind
    recorded = {"prompt_conf": {"template": "{audio}", "start_token": "tokenizer"}}
    assert upgrade_settings(recorded)["prompt_conf"] == recorded["prompt_conf"]


def test_control_tokens_count_as_such_only_in_the_templates_of_the_settings(tokenizer: object) -> None:
    own = Prompt(PromptConfig("Say</s> {audio} now:"), "st", tokenizer)
    assert own.render().prompt.count(2) == 1  # a chat model's turns, say
    of_data = Prompt(PromptConfig(), "st", tokenizer).render("", "Say</s> {audio} now:")
    assert 2 not in of_data.prompt + of_data.suffix


def test_what_the_tokenizer_cannot_encode_is_named(tokenizer: object) -> None:
    prompt = Prompt(PromptConfig(), "st", tokenizer)
    assert prompt.lost("Der  Hund.", prompt.encode("Der  Hund.")) == ""
    text = "Der ĉHundĝ ĉ."
    assert prompt.lost(text, prompt.encode(text)) == "ĉĝ"
    assert prompt.lost("Der Hund", prompt.encode("Der")) == "Der Hund"  # no character is to blame
