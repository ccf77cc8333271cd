"""The mini recipe's LLM: where an interrupted training goes on."""

from __future__ import annotations

from pathlib import Path

from speechllama.tasks.text_llm import last_whole_checkpoint


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    for step in (200, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1200").mkdir()  # killed before the state, which is written last
    (tmp_path / "checkpoint-1200/model.safetensors").write_bytes(b"")
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1000")
