"""Runs of a student, whose teacher writes its training set, with a fake Python."""

from __future__ import annotations

import os
from collections import Counter

from test.egs.conftest import Checkout

STUDENT = {"s.yaml": "include: e5.yaml\nteacher_system: e6\n"}
TEXTS = ["decode", "decode", "merge_decoded", "take_texts"]  # in two jobs
TRAINING = ["collect_llm_stats", "llm_train"]


def names(checkout: Checkout) -> list[str]:
    """The entry points that ran since the last call."""
    return [call[0] for call in checkout.calls()]


def make_student(checkout: Checkout) -> None:
    """Write its YAML."""
    for name, text in STUDENT.items():
        (checkout.mini / "conf" / name).write_text(text)


def test_a_student_runs_from_nothing_and_goes_on_where_it_was(checkout: Checkout) -> None:
    make_student(checkout)
    result = checkout.run("--system", "s", "--stop_stage", "8", FAKE_FAIL="take_texts")
    assert result.returncode != 0 and "## stage 8 teach failed" in result.stderr
    made = names(checkout)
    average = ["average_checkpoints"]
    assert made[made.index("collect_llm_stats") :] == [
        *(*TRAINING, *average, *TRAINING, *average),  # E5, what E6 starts from, E6, their mean
        *TEXTS,
    ]
    result = checkout.run("--system", "s", "--stop_stage", "8", FAKE_FAIL="llm_train")
    assert "e6 is trained (exp/st_e6)" in result.stdout
    assert names(checkout) == ["take_texts", *TRAINING]
    (checkout.mini / "exp/st_s/checkpoint.pth").write_text("half of it")
    result = checkout.run("--system", "s")
    assert result.returncode == 0, result.stderr
    assert names(checkout)[:2] == TRAINING and (checkout.mini / "exp/st_s/checkpoint.pth").is_file()
    assert checkout.run("--system", "s").returncode == 0 and not names(checkout)
    checkout.run("--system", "e6")
    assert Counter(names(checkout))["llm_train"] == 0  # its own run has nothing to train


def test_a_teacher_that_is_another_one_makes_its_student_stale(checkout: Checkout) -> None:
    make_student(checkout)
    assert checkout.run("--system", "s", "--stop_stage", "8").returncode == 0
    names(checkout)
    later = os.stat(checkout.mini / "exp/st_s/.train.done").st_mtime + 5
    os.utime(checkout.mini / "exp/st_e6/model.pth", (later, later))
    result = checkout.run("--system", "s", "--stop_stage", "8")
    assert result.returncode == 0 and names(checkout) == [*TEXTS, *TRAINING]
    assert "train_by_st_e6_beam4/text is newer" in result.stdout
    (checkout.mini / "conf/s.yaml").write_text(STUDENT["s.yaml"] + "teacher_conf: {beam_size: 1}\n")
    result = checkout.run("--system", "s", "--stop_stage", "8")
    assert result.returncode == 0 and names(checkout) == [*TEXTS, *TRAINING]
    assert "kept as exp/old/st_s.1" in result.stderr  # these are other texts
    assert (checkout.mini / "exp/st_e6/teach_train_beam1/nbest.jsonl").is_file()
