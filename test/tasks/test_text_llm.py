"""The mini recipe's LLM: where an interrupted training goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from speechllama.tasks.text_llm import collate, last_whole_checkpoint, target_loss


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    for step in (200, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1200").mkdir()  # killed before the state, which is written last
    (tmp_path / "checkpoint-1200/model.safetensors").write_bytes(b"")
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1000")


def test_the_loss_of_the_targets_is_that_of_the_whole_model_with_a_mask(tiny_llm: Path) -> None:
    llm = LlamaForCausalLM.from_pretrained(tiny_llm)
    rows = [
        {"input_ids": [1, 5, 6, 7, 8, 9, 2], "labels": [-100, -100, -100, -100, 8, 9, 2]},
        {"input_ids": [1, 9, 4, 2], "labels": [-100, -100, 4, 2]},
    ]
    batch = collate(rows)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    expected = llm(**batch, attention_mask=mask).loss
    torch.testing.assert_close(target_loss(llm, **batch), expected)
