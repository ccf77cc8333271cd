"""The GPU benchmark runs to its end at a tiny size on a CPU, and counts operations as arithmetic does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechllama.recipe.preflight.memory import BatchShape
from test.recipe_configs import conf_folders
from tools import benchmark_gpu as benchmark


@pytest.fixture
def arguments(tiny_llm: Path) -> list[str]:
    folders = ":".join(map(str, conf_folders("covost2", "small")))
    small = ["--conf_path", folders, "--llm_config", str(tiny_llm / "config.json")]
    sizes = ["--positions", "150 300", "--decode_batches", "1 2", "--frames", "1000"]
    return ["--device", "cpu", *small, *sizes, "--matrix", "64", "--repeats", "1"]


@pytest.mark.parametrize("more", [[], ["--checkpointing"]])
def test_every_table_is_printed(arguments: list[str], more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main([*arguments, *more])
    page = capsys.readouterr().out
    assert "matrix rate" in page and "frame_average of it" in page
    assert [line for line in page.splitlines() if line.startswith("##")] == [
        "## Encoding",
        *(f"## Training, {system}{', checkpointing' if more else ''}" for system in ("e5", "e6")),
        "## Decoding, beam 4, 30 tokens an utterance",
    ]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| 150 ", "| 300 "))]
    assert [row[1] for row in rows] == ["2", "4", "2", "4"]  # 75 positions an utterance


def test_the_operations_of_a_step_are_those_of_a_plain_count(arguments: list[str]) -> None:
    network, _, _ = benchmark.build(benchmark.get_parser().parse_args(arguments), "e5")
    shape = BatchShape(2, 3, 4, 5, 40)
    # The tiny LLM of the tests: 2 layers, width 32, feed-forward 64, 150 tokens; 12 positions an utterance.
    layers = 2 * (4 * 32 * 32 + 3 * 32 * 64)
    plain = 12 * (4 * layers + 12 * 12 * 32 * 2) + 6 * 4 * 150 * 32
    audio = sum(weight.numel() for weight in network.audio_encoder.parameters() if weight.dim() > 1)
    assert benchmark.step_operations(network, shape) == 2 * (plain + 4 * 6 * audio)


def test_a_system_that_is_nowhere_is_named_with_the_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"e9\.yaml: no such config in {tmp_path}"):
        benchmark.read_settings(str(tmp_path), "e9")


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU here"):
        benchmark.main([])
