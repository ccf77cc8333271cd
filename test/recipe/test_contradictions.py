"""What contradicts itself in a plan is refused before anything runs, and the message says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.options import UsageError
from speechllama.recipe.plan import make_plan
from test.recipe.conftest import EGS, MakePlan, commands, value_of


@pytest.mark.parametrize(
    ("holder", "options", "held", "advice"),
    [
        ("ctc_options", "--seed 3", "seed", "give it to the recipe itself"),
        ("ctc_options", "--max_epoch 3 --ctc_units=9", "ctc_units", "give it to the recipe itself"),
        ("llm_options", "--seed 3", "seed", "give it to the recipe itself"),
        ("decode_options", "--beam_size 3", "beam_size", "give it to the recipe itself"),
        ("decode_options", "--batch_size 3", "batch_size", "give it to the recipe itself"),
        ("train_options", "--compressor=none", "compressor", "write it into a system's YAML"),
        ("train_options", "--init_system e3", "init_system", "write it into a system's YAML"),
        ("train_options", "--freeze_encoder no", "freeze_encoder", "write it into a system's YAML"),
    ],
)
def test_options_of_a_command_that_the_stages_must_know_are_refused(
    mini_plan: MakePlan, holder: str, options: str, held: str, advice: str
) -> None:
    with pytest.raises(UsageError, match=f"^--{holder} holds --{held}, which the stages must know: {advice}[^;]*$"):
        mini_plan(f"--{holder}", options)


@pytest.mark.parametrize(
    ("system", "options", "words"),
    [
        ("e6", "--no_repeat_ngram 4", "unrecognized arguments: --no_repeat_ngram 4"),
        ("e6", "--top_p high", "argument --top_p: invalid float value: 'high'"),
        ("e6", "--mbr comet", "argument --mbr: invalid choice: 'comet'"),
        ("e6", "--temperature 0.7", r"temperature 0\.7 is for sampling, and must come with num_samples"),
        ("e6", "--ctc_weight 0.3", "--ctc_weight is for encoder-decoders, and e6 is none"),
        ("b1", "--mbr bleu", "--mbr bleu: b1 does not know in which language it writes"),
        ("b2", "--mbr chrf", "--mbr chrf: b2 chooses by the LLM's score"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_runs(
    mini_plan: MakePlan, system: str, options: str, words: str
) -> None:
    with pytest.raises(UsageError, match=f"^--decode_options: {words}"):
        mini_plan("--system", system, "--decode_options", options)


def test_all_such_options_are_told_at_once(mini_plan: MakePlan) -> None:
    with pytest.raises(UsageError, match="^--ctc_options holds --seed, .*; --train_options holds --encoder, "):
        mini_plan("--ctc_options", "--seed 3", "--train_options", "--max_epoch 2 --encoder x")


def test_an_llm_is_needed_from_its_stage_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EGS / "covost2")
    words = ("--langs", "de", "--system", "e6")
    with pytest.raises(UsageError, match="--llm is needed from stage llm on: there is no llm.yaml in conf:.*TEMPLATE"):
        make_plan(words)
    for more in (("--list",), ("--stop_stage", "6"), ("--llm", "some/big"), ("--system", "b1"), ("--system", "d")):
        assert make_plan([*words, *more]).recipe_name == "covost2"
    with pytest.raises(UsageError, match="--pack_llm true needs --llm DIRECTORY; an LLM of the hub stays there"):
        make_plan([*words, "--llm", "some/big", "--pack_llm"])


def test_only_stage_lora_starts_from_an_adapter(mini_plan: MakePlan, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    words = ("--system", "e6", "--init_adapter", str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty' is no directory with adapter_config.json and adapter_model.safetens"):
        mini_plan("--system", "e6", "--init_adapter", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="--init_adapter .*: e5 has no stage lora .*; choose a LoRA system such as e4"):
        mini_plan("--system", "e5", "--init_adapter", str(folder))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    plan = mini_plan(*words)
    (first,), (second,) = (
        [call for call in commands(plan, stage) if call[0] == "llm_train"] for stage in ("train", "lora")
    )
    assert value_of(second, "init_adapter") == str(folder) and "--init_adapter" not in first
    lora = next(row for _, row in plan.stages() if row.name == "lora")
    assert str(folder / "adapter_model.safetensors") in lora.inputs and f"adapter={folder}" in lora.settings
    assert [row.name for _, row in plan.stages() if f"adapter={folder}" in row.settings] == ["lora"]
