"""A run's options are read as the trainer reads them, and refused as it would."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.recipe.preflight.plan import known_options, read_settings

SMALL = Path(__file__).resolve().parents[3] / "egs" / "covost2" / "conf" / "small"


@pytest.mark.parametrize("kind", ["ctc", "system"])
def test_the_options_read_from_the_source_are_those_of_the_trainer(kind: str) -> None:
    from speechllama.train.ctc import CTCTask
    from speechllama.train.espnet import NestedDictAction
    from speechllama.train.speech_llama import SpeechLlamaTask

    parser = (CTCTask if kind == "ctc" else SpeechLlamaTask).get_parser()
    assert known_options(kind) == {action.dest for action in parser._actions} - {"help"}
    nested = {action.dest for action in parser._actions if isinstance(action, NestedDictAction)}
    assert nested == {name for name in known_options(kind) if name.endswith("_conf")}


def test_options_override_a_yaml_as_the_trainer_reads_them() -> None:
    path = str(SMALL / "e6.yaml")
    plain = read_settings(path, "", "system")
    options = "--max_epoch 2 --batch_bins=77 --optim_conf lr=1.0e-3 --keep_nbest_models 2 7 "
    options += "--llm_conf gradient_checkpointing=true --llm_conf lora.rank=3 --audio_encoder_conf '{num_layers: 1}'"
    settings = read_settings(path, options, "system")
    assert (settings["max_epoch"], settings["batch_bins"], settings["keep_nbest_models"]) == (2, 77, [2, 7])
    assert settings["optim_conf"] == plain["optim_conf"] | {"lr": 0.001}
    lora = plain["llm_conf"].get("lora", {}) | {"rank": 3}
    assert settings["llm_conf"] == plain["llm_conf"] | {"gradient_checkpointing": True, "lora": lora}
    assert settings["audio_encoder_conf"] == plain["audio_encoder_conf"] | {"num_layers": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--max_epochs 2", "unrecognized arguments: --max_epochs 2"),
        ("--llm_conf true", "must be interpreted as dict: but got true"),
        ("--max_epoch two", "max_epoch: expected a whole number, found 'two'"),
        ("--llm_conf 'a={'", "options .*while parsing a flow"),
        ("--batch_bins '", "No closing quotation"),
        ("--max_epochs 2 --llm_conf true --bins 3", "(?s)--max_epochs 2; .*got true.*; unrec.*: --bins 3"),
        ("--max_epoch two --batch_bins 1.5", "batch_bins: .* found 1.5; max_epoch: .* number, found 'two'"),
        ("--max_epo 2", "unrecognized arguments: --max_epo 2"),
    ],
)
def test_options_that_the_trainer_would_refuse_are_faults(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings(str(SMALL / "e5.yaml"), options, "system")


def test_nested_settings_that_are_none_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "e5.yaml").write_text("llm_conf: frozen\n")
    with pytest.raises(ValueError, match="llm_conf: expected settings"):
        read_settings(str(tmp_path / "e5.yaml"), "", "system")
