"""Options of single commands in the preflight: what a program would refuse is said before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.recipe.preflight.commands import check_commands
from test.recipe.preflight.conftest import MakeRun


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--llm_options", "--both_share 0.2"), "unrecognized arguments: --both_share 0.2"),
        (("--llm_options", "--num_steps many"), "argument --num_steps: invalid int value: 'many'"),
        (("--feature_options", "--max_bad_shares 0.2"), "unrecognized arguments: --max_bad_shares 0.2"),
        (("--llm_options", "--num_steps 10", "--feature_options", "--max_bad_share 0.2", "--nj", "3"), ""),
        (("--llm_options", "--both_share 0.2", "--stop_stage", "6"), ""),  # never reached
        (("--ctc_options", "--max_epoch 1", "--train_options", "--max_epoch 1"), ""),
    ],
)
def test_what_a_program_would_refuse_is_a_fault(checked_run: MakeRun, words: tuple[str, ...], fault: str) -> None:
    faults: list[str] = []
    check_commands(checked_run("mini_covost2", *words), faults)
    assert faults == ([f"{words[0]} {words[1]}: {fault}"] if fault else [])


def test_an_llm_that_is_given_has_other_options(checked_run: MakeRun, tiny_llm: Path) -> None:
    faults: list[str] = []
    words = ("--llm", str(tiny_llm), "--llm_options")
    check_commands(checked_run("mini_covost2", *words, "--dtype float32"), faults)
    assert faults == []
    check_commands(checked_run("mini_covost2", *words, "--dtype float8"), faults)
    assert faults[0].startswith("--llm_options --dtype float8: argument --dtype: invalid choice: 'float8'")
