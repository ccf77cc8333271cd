"""Stage 0 says whether an epoch holds an update, and how many utterances the LLM has too few positions for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from speechllama.files import write_table
from speechllama.recipe.preflight.amounts import Amount
from speechllama.recipe.preflight.checks import Report, check_llm
from speechllama.recipe.preflight.fit import check_context, check_updates
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import PlannedTraining, find_trainings
from test.recipe.preflight.conftest import MakeRun


def trainings_of(run: CheckedRun) -> list[PlannedTraining]:
    """All trainings of a run without faults."""
    report = Report()
    found = check_llm(run, report)
    assert found is not None
    trainings = find_trainings(run, found.architecture, report.faults)
    assert report.faults == []
    return trainings


def test_an_epoch_without_an_update_is_a_fault(checked_run: MakeRun, tiny_llm: Path) -> None:
    words = ("--system", "e5", "--size", "small", "--ctc_units", "40", "--llm", str(tiny_llm))
    run = checked_run("covost2", *words, "--train_options", "--accum_grad 4")
    ctc, train = trainings_of(run)
    batch = train.batch.num_utterances * 5.0  # seconds
    enough, few = ({"train": Amount(100, seconds)} for seconds in (3.5 * batch, 2.5 * batch))
    faults: list[str] = []
    check_updates(run, [train], enough, faults)
    check_updates(run, [train], {}, faults)
    check_updates(dataclasses.replace(run, finished=frozenset({"train"})), [train], few, faults)
    assert faults == []
    check_updates(run, [train], few, faults)
    assert len(faults) == 1
    assert "an epoch has about 3 batches, an update needs 4 (accum_grad): nothing would be trained" in faults[0]
    check_updates(run, [dataclasses.replace(ctc, settings={"num_iters_per_epoch": 2, "accum_grad": 3})], few, faults)
    assert "stage ctc" in faults[1] and "about 2 batches, an update needs 3" in faults[1]


@pytest.mark.parametrize("system", ["e5", "e0"])
def test_the_share_beyond_the_context_is_said(
    checked_run: MakeRun, tiny_llm: Path, tmp_path: Path, system: str
) -> None:
    llm = tmp_path / "llm"
    shutil.copytree(tiny_llm, llm)
    settings = json.loads((llm / "config.json").read_text())
    (llm / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 100}))
    words = ("--system", system, "--size", "small", "--ctc_units", "40", "--llm", str(llm))
    run = checked_run("covost2", *words)
    trainings = trainings_of(run)
    lines: list[str] = []
    faults: list[str] = []
    check_context(run, trainings, lines, faults)
    assert lines == faults == []  # the corpus is not there
    seconds = {"train": [2.0, 2.0, 2.0, 60.0], "dev": [2.0], "test": [60.0]}
    for name, durations in seconds.items():
        names = [f"de_{index}" for index in range(len(durations))]
        write_table(run.layout.data(name, "utt2dur"), dict(zip(names, map(str, durations), strict=True)))
        write_table(run.layout.data(name, "text"), dict.fromkeys(names, "The dog sleeps."))
    check_context(run, trainings, lines, faults)
    assert lines == [
        "train: about 1 of 4 utterances (25.0%) need more than the LLM's 100 positions; training leaves them out"
    ]
    assert len(faults) == 1 and faults[0].startswith("test: about 1 of 1 utterances (100.0%) need more than")
    assert "their text is cut off, or empty" in faults[0]


def test_positions_that_are_learned_from_the_start_have_no_limit(checked_run: MakeRun) -> None:
    run = checked_run("covost2", "--system", "d")
    write_table(run.layout.data("train", "utt2dur"), {"a": "600.0"})
    write_table(run.layout.data("train", "text"), {"a": "The dog sleeps."})
    lines: list[str] = []
    faults: list[str] = []
    check_context(run, trainings_of(run), lines, faults)
    assert lines == faults == []
