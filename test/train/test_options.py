"""Options of the trainings: ours are printed at once, and are the very ones that the trainer reads."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from speechllama.bin import ctc_train, llm_train, seq2seq_train
from speechllama.train.espnet import NestedDictAction
from speechllama.train.options import Kind, find_task, help_parser, known_options, str_or_none

KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trainer_reads_every_option_of_the_help(kind: Kind) -> None:
    ours = {action.dest for action in help_parser("doc", kind)._actions} - {"help", "help_trainer"}
    known = known_options(kind)
    assert ours < known
    assert {"config", "output_dir", "max_epoch", "optim_conf", "save_minutes"} <= known
    assert "help" not in known


@pytest.mark.parametrize("kind", KINDS)
def test_nested_settings_are_read_as_espnet_reads_them(kind: Kind) -> None:
    for action in find_task(kind).get_parser()._actions:
        assert isinstance(action, NestedDictAction) == action.dest.endswith("_conf"), action.dest


def test_the_help_says_where_the_options_of_the_trainer_are(capsys: pytest.CaptureFixture[str]) -> None:
    ctc_train.main(["--help"])
    ours = capsys.readouterr().out
    assert "--ctc_units" in ours and "--max_epoch MAX_EPOCH" not in ours and "printed by --help_trainer" in ours
    ctc_train.main(["--help_trainer"])
    both = capsys.readouterr().out
    assert "--ctc_units" in both and "--max_epoch MAX_EPOCH" in both


@pytest.mark.parametrize(("main", "option"), [(llm_train.main, "--llm_dir"), (seq2seq_train.main, "--network_conf")])
def test_every_training_prints_its_own_options(main: object, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(main)
    main(["--config", "e6.yaml", "-h"])
    assert option in capsys.readouterr().out


def test_an_unknown_training_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown training 'llm', expected one of ctc, system, seq2seq"):
        find_task("llm")  # type: ignore[arg-type]


@pytest.mark.parametrize(("word", "expected"), [("none", None), ("Null", None), ("exp/ctc", "exp/ctc")])
def test_none_is_a_word_of_the_command_line(word: str, expected: str | None) -> None:
    assert str_or_none(word) == expected


def test_a_misspelt_option_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ctc_train.main(["--output_dir", str(tmp_path), "--ctc_unit", "3"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --ctc_unit 3" in capsys.readouterr().err
