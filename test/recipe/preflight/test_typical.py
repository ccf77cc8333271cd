"""Estimates are of the utterances that are there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from speechllama.files import write_table
from speechllama.llm.files import load_tokenizer
from speechllama.recipe.preflight.amounts import Amount
from speechllama.recipe.preflight.memory import BatchShape
from speechllama.recipe.preflight.schedule import part_of
from test.recipe.preflight.conftest import MakeRun


def test_the_typical_utterance_is_that_of_the_data(checked_run: MakeRun, tmp_path: Path, tiny_llm: Path) -> None:
    words = ("--size", "small", "--system", "e5", "--llm", str(tiny_llm), "--sets", "test")
    run = checked_run("covost2", *words)
    assert run.typical == run.decoded == BatchShape()  # nothing is there: CoVoST 2's
    texts = {"a": "The old woman drinks. " * 9, "b": "The boy eats bread. " * 11}
    for name, durations in (("train", {"a": "20", "b": "40"}), ("test", {"a": "2", "b": "4"})):
        write_table(tmp_path / "datadir" / name / "utt2dur", durations)
        write_table(tmp_path / "datadir" / name / "text", texts if name == "train" else dict.fromkeys(texts, ""))
    run = checked_run("covost2", *words)
    encode = load_tokenizer(str(tiny_llm), None)
    tokens = [len(encode(text.strip(), add_special_tokens=False).input_ids) for text in texts.values()]
    expected = BatchShape(num_frames=3000, num_audio=225, num_text=round(sum(tokens) / 2))
    assert run.typical == expected
    assert run.decoded == dataclasses.replace(BatchShape(), num_frames=300, num_audio=22)  # without references


def test_an_llm_that_is_not_here_has_usual_tokens(checked_run: MakeRun, tmp_path: Path) -> None:
    write_table(tmp_path / "datadir/train/text", {"a": "x" * 350})
    assert checked_run("covost2", "--llm", "some/llm").typical.num_text == 100


def test_a_subset_is_a_part_of_the_speech() -> None:
    assert part_of(Amount(100, 500.0), 20) == Amount(20, 100.0)
    assert part_of(Amount(100, 500.0), 0) == part_of(Amount(100, 500.0), 100) == Amount(100, 500.0)
