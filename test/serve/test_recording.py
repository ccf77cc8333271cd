"""What the server reads of an experiment."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.decode.segmenter import CutConfig
from speechllama.serve.recording import find_task, load_model
from test.seq2seq_recipe import train_b1


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"task_name": "st"}, "st"),
        ({"task_name": "asr"}, "asr"),
        (
            {
                "train_data_path_and_name_and_type": [
                    ["dump/train/feats.scp", "speech", "x"],
                    ["dump/text", "text", "x"],
                ]
            },
            "st",
        ),
        ({"train_data_path_and_name_and_type": [["dump/train/src_text", "text", "text"]]}, "asr"),
    ],
)
def test_the_task_is_the_recorded_one_or_that_of_the_texts(settings: dict[str, Any], task: str) -> None:
    assert find_task(settings).name == task


def test_an_experiment_without_a_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names no task, nor a table of one to train on; found \['words'\]"):
        find_task({"train_data_path_and_name_and_type": [["dump/train/words", "text", "text"]]})


def test_the_encoder_decoder_is_served_too(recipe: Any, seq2seq_sizes: dict[str, Any]) -> None:
    train_b1(recipe, seq2seq_sizes)
    model = load_model(str(recipe.root / "b1"), "cpu", {"beam_size": 2}, CutConfig(segmentation="even"))
    assert (model.endpoint, model.task, model.language_name("de")) == ("transcriptions", "transcribe", "german")
    assert model.translator.config.beam_size == 2


def test_a_language_that_the_prompt_cannot_name_is_refused(recipe: Any) -> None:
    translator: Any = load_model(str(recipe.root / "e6"), "cpu", {}, CutConfig(segmentation="even")).translator
    translator.check_language("")
    prompt = translator.experiment.prompt
    prompt.template = "From {language}: {audio}"
    prompt._rendered.clear()
    translator.check_language("de")
    with pytest.raises(ValueError, match="needs a language: unknown language ''"):
        translator.check_language("")
