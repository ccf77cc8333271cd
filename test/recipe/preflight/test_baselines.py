"""B1 and B2 in the preflight: counts against real passes, and it says of them what it says of the others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechllama.model.meta_model import read_architecture
from speechllama.model.seq2seq import Seq2SeqConfig
from speechllama.recipe.preflight import baselines, checks, systems
from speechllama.recipe.preflight.baselines import Seq2SeqShape, make_batch, seq2seq_activations
from speechllama.recipe.preflight.memory import BatchShape, kept_bytes, precision
from test.recipe.preflight.conftest import MakeRun

TINY = Seq2SeqConfig(conv_channels=4, num_encoder_layers=2, num_decoder_layers=2, dim=16, num_heads=2, ffn_dim=32)
BATCH = BatchShape(num_utterances=3, num_text=5, num_frames=60)


@pytest.mark.parametrize("is_amp", [False, True])
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_the_count_without_memory_is_what_a_real_pass_keeps(positions: str, is_amp: bool) -> None:
    shape = Seq2SeqShape(dataclasses.replace(TINY, positions=positions), 30)
    network = shape.build().train()
    network.spec_augment.eval()
    speech = torch.zeros(3, 60, 80)
    lengths, text, text_lengths = make_batch(shape, BATCH, "cpu")

    def forward() -> tuple[torch.Tensor, ...]:
        memory = network.encode(speech, lengths)
        return memory.ctc_log_probs, *network.attend(memory, text, text_lengths)

    with precision(is_amp):
        kept = kept_bytes(forward, network)
        whole = kept_bytes(lambda: network(speech, lengths, text, text_lengths).loss, network)
    # In half precision a fake LayerNorm keeps its means in bfloat16, a real one in float32: ten numbers a frame.
    assert seq2seq_activations(shape, BATCH, is_amp) == pytest.approx(kept, rel=0.005 if is_amp else 0)
    # What the count leaves out: CTC's own rows, and the copies that it is called with.
    assert kept < whole < 1.1 * kept


def test_the_papers_encoder_decoder_takes_what_arithmetic_says(checked_run: MakeRun) -> None:
    (training,) = systems.find_trainings(checked_run("covost2", "--system", "b1"), None, [])
    assert training.num_trained == pytest.approx(240e6, rel=0.03)
    assert training.is_amp
    one, two = (dataclasses.replace(training, batch=BatchShape(num_utterances=count)).memory(None) for count in (4, 8))
    assert one.trained == 16 * training.num_trained and one.weights == 0
    # Of half precision autograd keeps the weights' copies as well, two bytes each, however large the batch is.
    shared = 2 * one.activations - two.activations
    embeddings = 16002 * 768  # looked up as they are
    assert shared == pytest.approx(1.05 * 2 * (training.num_trained - embeddings), rel=0.01)


def test_the_preflight_times_training_and_decoding_of_b1_and_rescoring_of_b2(
    checked_run: MakeRun, tiny_llm: Path
) -> None:
    expected = ["| features", "| train", "| decode"]
    for system, more in (("b1", []), ("b2", ["| rescore"])):
        words = ["--llm", str(tiny_llm)] if more else []
        run = checked_run("mini_covost2", "--system", system, "--batch_size", "2", *words)
        report = checks.run_preflight(run)
        assert report.faults == []
        rows = [row.split(" | ") for row in report.tables[-1].splitlines()[2:]]
        assert [row[0] for row in rows] == expected + more
        assert all(float(row[1].split()[0].replace(",", "")) > 0 for row in rows)
        assert "about 3 utterances of 5 s; 1,959,331" in report.text()


def test_memory_of_b1_and_b2_is_held_against_the_card(
    checked_run: MakeRun, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    words = ("--system", "b2", "--llm", str(tiny_llm), "--batch_size", "2", "--ngpu", "1")
    run = checked_run("mini_covost2", *words)
    architecture = read_architecture(tiny_llm)
    trainings = systems.find_trainings(run, architecture, [])
    for total, num_faults in ((80e9, 0), (0.7e9, 3)):
        install_card(total)
        faults: list[str] = []
        rows = systems.check_gpu(run, trainings, architecture, faults)
        assert [row[0] for row in rows] == [
            "stage train, conf/b1.yaml",
            "stage decode, 2 utterances, beam 4",
            "stage decode, rescoring",
        ]
        assert len(faults) == num_faults


def test_samples_take_the_memory_of_a_beam_of_as_many(
    checked_run: MakeRun, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    install_card(80e9)
    architecture, found = read_architecture(tiny_llm), []
    for more in (["--beam_size", "400"], ["--decode_options", "--num_samples 400"]):
        run = checked_run("mini_covost2", "--system", "b1", "--batch_size", "2", "--ngpu", "1", *more)
        rows = systems.check_gpu(run, systems.find_trainings(run, architecture, []), architecture, [])
        found += [row for row in rows if "stage decode" in row[0]]
    assert [row[0].split(", ")[-1] for row in found] == ["beam 400", "samples 400"]
    assert found[0][1:] == found[1][1:]


def test_rescoring_a_speech_llm_is_estimated_next_to_its_own_decoding(
    checked_run: MakeRun, make_recipe: Callable[..., Path], tiny_llm: Path
) -> None:
    recipe = make_recipe(b5="rescore_system: e5\n")
    words = ("--system", "b5", "--size", "small", "--llm", str(tiny_llm), "--ngpu", "1")
    run = checked_run(recipe, *words, launcher="slurm")
    architecture = read_architecture(tiny_llm)
    rows = systems.check_gpu(run, systems.find_trainings(run, architecture, []), architecture, [])
    assert [row[0].split(",")[0] for row in rows] == ["stage ctc", "stage train", "stage decode", "stage decode"]


def test_the_search_is_timed_with_texts_of_the_typical_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    search = baselines.joint_search

    def note(*arguments: object) -> object:
        found = search(*arguments)  # type: ignore[arg-type]
        lengths.extend(len(nbest[0].tokens) for nbest in found)
        return found

    monkeypatch.setattr(baselines, "joint_search", note)
    seconds = baselines.joint_search_seconds(Seq2SeqShape(TINY, 120), BatchShape(num_utterances=2), 4, "cpu")
    assert 0 < seconds < math.inf and set(lengths) == {22}


@pytest.mark.parametrize(("system", "trained"), [("cascade", []), ("cascade_e6", ["train", "lora", "decode"])])
def test_the_preflight_builds_and_times_both_steps_of_a_cascade(
    checked_run: MakeRun, tiny_llm: Path, system: str, trained: list[str]
) -> None:
    run = checked_run("mini_covost2", "--system", system, "--batch_size", "2", "--llm", str(tiny_llm))
    report = checks.run_preflight(run)
    assert report.faults == []
    rows = [row.split(" | ")[0].removeprefix("| ") for row in report.tables[-1].splitlines()[2:]]
    assert rows == ["features", "ctc", "compress", *trained, "translate"]
