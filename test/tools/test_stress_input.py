"""Damaged files: a seeded share of the cases, and what the tool counts as a fault."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from speechllama.faults import InputError
from tools import stress_input
from tools.stress.cases import KINDS
from tools.stress.forked import Ended, run_forked
from tools.stress.kinds import lost_rows, missing
from tools.stress.mutations import MUTATIONS

NUM_CASES = 25


def test_a_seeded_share_of_the_damaged_files_is_handled_or_refused_by_name(
    stress_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(KINDS) == NUM_CASES  # so that every kind has its turn
    status = stress_input.main(["--work_dir", str(stress_dir), "--cases", str(NUM_CASES), "--seed", "3"])
    printed, errors = capfd.readouterr()
    assert status == 0, errors
    assert f"| all | {NUM_CASES} |" in printed
    before = (stress_dir / "input.jsonl").read_text()
    assert stress_input.main(["--work_dir", str(stress_dir), "--cases", str(NUM_CASES), "--seed", "3"]) == 0
    assert (stress_dir / "input.jsonl").read_text() == before  # the second call had nothing to do


def test_a_damaged_file_is_whole_again_after_a_kill_of_the_tool(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("whole")
    stress_input.Damage(tmp_path).write(path, b"damaged")
    stress_input.Damage(tmp_path).repair()
    assert path.read_text() == "whole"


def refuse() -> None:
    raise InputError("dump/text: damaged")


def fail() -> None:
    raise KeyError("text")


@pytest.mark.parametrize(
    ("main", "how", "result"),
    [
        (lambda: None, "done", "handled"),
        (refuse, "refused", "refused"),
        (lambda: 1, "refused", "unnamed"),
        (fail, "fault", "FAULT"),
        (os.abort, "fault", "FAULT"),
        (lambda: time.sleep(60), "hang", "hang"),
    ],
)
def test_every_ending_of_a_command_is_told_from_the_others(tmp_path: Path, main: object, how: str, result: str) -> None:
    ended = run_forked(main, tmp_path, 60.0 if how != "hang" else 0.5)  # type: ignore[arg-type]
    assert ended.how == how, ended.text
    assert stress_input.judge_ending(ended, Path("dump/text")) == result


def test_a_message_about_another_file_does_not_name_the_damaged_one() -> None:
    ended = Ended("refused", "reading dump/text\nERROR: exp/llm.json: no such file")
    assert stress_input.judge_ending(ended, Path("dump/text")) == "unnamed"
    assert stress_input.judge_ending(ended, Path("exp/llm.json")) == "refused"


@pytest.mark.parametrize(
    ("message", "path", "expected"),
    [
        ("/tmp/w/dump/text:3: no text", "/tmp/w/dump/text", True),
        ("dump/text: is empty", "/tmp/w/dump/text", True),
        ("dump: text:3: is empty", "/tmp/w/dump/text", True),
        ("exp/llm.json: its text is not JSON", "/tmp/w/dump/text", False),
        ("dump/src_text:1: is empty", "/tmp/w/dump/text", False),
        ("ctc/config.yaml: damaged", "/tmp/w/st_e6/config.yaml", False),
        ("'st_e6/config.yaml' is damaged", "/tmp/w/st_e6/config.yaml", True),
        ("cannot read config.yaml.", "/tmp/w/st_e6/config.yaml", True),
        ("old_config.yaml: damaged", "/tmp/w/st_e6/config.yaml", False),
    ],
)
def test_a_file_is_named_by_its_path_or_its_name_and_by_no_word_like_it(
    message: str, path: str, expected: bool
) -> None:
    assert stress_input.is_file_named(message, Path(path)) == expected


def test_an_utterance_that_nothing_counts_is_lost(tmp_path: Path) -> None:
    (tmp_path / "feats.scp").write_text("a ark:1\n")
    (tmp_path / "skipped").write_text("b\tno_features\tempty\n")
    assert missing(["a", "b"], tmp_path / "feats.scp", skipped=tmp_path / "skipped") == ""
    assert missing(["a", "b", "c"], tmp_path / "feats.scp", skipped=tmp_path / "skipped") == "1 lost: feats.scp: c"


def test_a_row_that_the_report_does_not_count_is_lost(tmp_path: Path) -> None:
    tables = {"de": [tmp_path / "validated.tsv", tmp_path / "covost.tsv"]}
    for table in tables["de"]:
        table.write_text("path\na\nb\nc\n")
    dropped = {"empty sentence": {"count": 1}}
    splits = {"train": {"rows": 3, "kept": 2, "dropped": dropped}}
    report = {"languages": {"de": {"rows": 3, "dropped": {}, "splits": splits}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert lost_rows(tmp_path / "report.json", tables) == ""
    splits["train"]["kept"] = 1
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert lost_rows(tmp_path / "report.json", tables) == "de: 3 rows, kept 1, dropped 1"


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("content", [b"utt1 2.5\nutt2 1.25\n", bytes(range(256)) * 8])
def test_every_mutation_changes_text_and_binary_files_and_repeats_with_its_seed(name: str, content: bytes) -> None:
    made = [MUTATIONS[name](content, random.Random(seed)) for seed in range(10)]
    assert any(one != content for one in made)
    assert made == [MUTATIONS[name](content, random.Random(seed)) for seed in range(10)]
