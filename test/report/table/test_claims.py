"""The paper's claims, judged by a table."""

from __future__ import annotations

import re

import pytest

from speechllama.files import write_json
from speechllama.report.table.claims import judge
from speechllama.report.table.significance import Difference
from test.report.table.conftest import Experiment


@pytest.mark.parametrize(
    ("low", "high", "sign", "verdict"),
    [
        (0.1, 2.0, 1, "agrees"),
        (-2.0, -0.1, 1, "disagrees"),
        (-0.1, 2.0, 1, "no difference shown"),
        (-2.0, -0.1, -1, "agrees"),
        (-1.0, 1.0, 0, "agrees"),
        (0.1, 1.0, 0, "disagrees"),
    ],
)
def test_a_claim_is_judged_by_the_interval(low: float, high: float, sign: int, verdict: str) -> None:
    mean = (low + high) / 2
    assert judge(Difference(mean, low, high, {1: mean, 2: 2 * mean}), sign) == verdict


@pytest.mark.parametrize(("sign", "verdict"), [(1, "no difference shown"), (-1, "no difference shown"), (0, "agrees")])
def test_seeds_of_both_signs_show_no_difference_whatever_the_interval_excludes(sign: int, verdict: str) -> None:
    assert judge(Difference(2.8, 0.01, 5.8, {1: 6.6, 2: -1.0}), sign) == verdict


def test_claims_name_the_difference_of_every_seed_and_unequal_updates(experiment: Experiment) -> None:
    for seed in (1, 2):
        experiment.add("e1", 0.3, seed)
        write_json(experiment.add("e3", 0.1, seed) / "training.json", {"seconds": 9.0, "num_updates": 400})
    experiment.table("e1 e3", "e3", "1 2")
    (line,) = (line for line in experiment.claims().splitlines() if line.startswith("| e3 against e1 | +1.5"))
    assert re.search(r"\]; seeds: \+\d+\.\d, \+\d+\.\d \| agrees \| 400 updates against 280 \|", line)


def test_claims_say_what_agrees_what_disagrees_and_what_was_not_run(experiment: Experiment) -> None:
    for row, share in (("e1", 0.3), ("e3", 0.1), ("e2", 0.6), ("e6", 0.05)):
        experiment.add(row, share)
    experiment.add("d", 0.3, num_parameters=600)
    experiment.add("b1", 0.3)
    experiment.table("b1 d e1 e2 e3 e6")
    lines = {tuple(line.split(" | ")[:2]): line for line in experiment.claims().splitlines()}
    assert " | agrees | " in lines["| e3 against e1", "+1.5"]
    assert " | disagrees | " in lines["| e2 against e1", "+1.5"]
    assert " | not run | no score of e4 | " in lines["| e4 against e3", "above"]
    assert " | agrees | " in lines["| e6 against the best of the others, e3", "the best"]
    assert "D has 600 parameters, B1 1,000: 40 % fewer." in experiment.claims()


def test_claims_of_another_task_are_judged_by_which_system_is_better(experiment: Experiment) -> None:
    experiment.task = "asr"
    for row, share in (("e1", 0.3), ("e3", 0.1), ("e2", 0.6), ("e6", 0.02)):
        experiment.add(row, share)
    experiment.table("e1 e2 e3 e6")
    lines = {tuple(line.split(" | ")[:2]): line for line in experiment.claims().splitlines()}
    better = lines["| e3 against e1", "+1.5"]
    assert re.search(r"\| -\d+\.\d \[-.*\] \| agrees \|", better), better  # fewer errors
    assert " | disagrees | " in lines["| e2 against e1", "+1.5"]
    assert " | agrees | " in lines["| e6 against the best of the others, e3", "the best"]
    assert "here, WER in percent [95 %]" in experiment.claims()
    assert "a claim is judged by which system is better" in experiment.claims()
