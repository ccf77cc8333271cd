"""What a system was trained for."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.text.tasks import trained_task

DATA = "train_data_path_and_name_and_type"


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"task_name": "st"}, "st"),
        ({"task_name": "asr", DATA: [["dump/train/text", "text", "text"]]}, "asr"),
        ({DATA: [["dump/train/feats.scp", "speech", "kaldi_ark"], ["dump/text", "text", "text"]]}, "st"),
        ({DATA: [["dump/train/src_text", "text", "text"]]}, "asr"),
        ({DATA: [["dump/train/words", "text", "text"]]}, None),
        ({}, None),
    ],
)
def test_the_task_is_the_recorded_one_or_that_of_the_texts(settings: dict[str, Any], task: str | None) -> None:
    found = trained_task(settings)
    assert (found.name if found else None) == task
