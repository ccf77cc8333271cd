"""What runs on a GPU does what it does on the CPU; skipped where torch finds none.

    python3 -m pytest test/test_gpu.py

Losses and hypotheses are compared with the pins of the CPU (test_training_pins.py). A GPU adds numbers up in another
order, and convolutions in TF32, so that a training drifts away from that of the CPU update by update.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.bin import llm_train
from speechllama.decode.speech2text import Speech2Text
from speechllama.frontend.hf_encoder import HfEncoder
from speechllama.llm.admission import TOLERANCE, admit
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.text_lines import TextCorpus
from speechllama.llm.text_llm import TextLLMConfig, train_text_llm
from speechllama.split_on_oom import split_on_oom
from test.frontend.encoders import ENCODERS, noise
from test.frontend.test_hf_encoder import build
from test.llm.families import BOTH, FAMILIES, Family
from test.test_training_pins import DECODED, LLM_SETTINGS, TRAINED, PinnedRun, pinned
from test.trained_recipe import LORA, Recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
__all__ = ["build", "pinned"]  # fixtures

FIRST, LAST = 2e-3, 3e-2  # relative differences of a loss before and after training


@pytest.fixture(scope="module")
def gpu_recipe(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Recipe:
    """A recipe whose stages take the GPU."""
    made = Recipe(tmp_path_factory.mktemp("gpu"), tiny_llm)
    made.ngpu = 1
    return made


@pytest.fixture(scope="module")
def measured(gpu_recipe: Recipe) -> dict[str, Any]:
    """Losses and hypotheses of the pinned trainings, trained and decoded on the GPU."""
    return PinnedRun(gpu_recipe).measure()


@pytest.mark.parametrize("system", TRAINED)
def test_a_training_has_the_losses_of_the_cpu(measured: dict[str, Any], pinned: dict[str, Any], system: str) -> None:
    found, expected = measured["losses"][system], pinned["losses"][system]
    assert found["num_updates"] == expected["num_updates"]
    assert found["first"] == pytest.approx(expected["first"], rel=LAST if system in ("e6", "u") else FIRST)
    assert found["last"] == pytest.approx(expected["last"], rel=LAST)


@pytest.mark.parametrize("name", DECODED)
def test_a_decoding_gives_texts_and_scores(measured: dict[str, Any], pinned: dict[str, Any], name: str) -> None:
    found, expected = measured["hypotheses"][name], pinned["hypotheses"][name]
    assert found.keys() == expected.keys()
    same = [utterance for utterance in found if found[utterance]["text"] == expected[utterance]["text"]]
    assert len(same) >= len(found) / 2  # of other weights, by other rounding
    for utterance in same:
        assert found[utterance]["scores"][0] == pytest.approx(expected[utterance]["scores"][0], rel=5e-2, abs=0.05)


def test_one_model_writes_the_same_on_both(measured: dict[str, Any], gpu_recipe: Recipe) -> None:
    folder = gpu_recipe.root / "e6"
    gpu_recipe.assert_same_texts(Speech2Text.from_pretrained(folder), Speech2Text.from_pretrained(folder, "cuda"))
    texts = gpu_recipe.decode("e6", "compressed", "e6/gpu")
    gpu_recipe.ngpu = 0
    try:
        assert gpu_recipe.decode("e6", "compressed", "e6/cpu") == texts
    finally:
        gpu_recipe.ngpu = 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_mixed_precision_trains_towards_the_same_loss(
    measured: dict[str, Any], gpu_recipe: Recipe, pinned: dict[str, Any], checkpointing: bool
) -> None:
    run = PinnedRun(gpu_recipe)
    name = f"amp_{checkpointing}".lower()
    llm = {**LORA, "gradient_checkpointing": checkpointing}
    run.train_llm(name, prefix_mask="non_causal", use_amp=True, llm_conf=llm)
    found = run.losses[name]
    assert found["first"] == pytest.approx(pinned["losses"]["e5"]["first"], rel=LAST)
    assert found["last"] < found["first"]


def test_a_training_that_was_stopped_resumes(measured: dict[str, Any], gpu_recipe: Recipe) -> None:
    run = PinnedRun(gpu_recipe)
    run.train_llm("whole", prefix_mask="non_causal", use_amp=True)
    command = gpu_recipe.llm_command("halves", prefix_mask="non_causal", use_amp=True, **LLM_SETTINGS)
    llm_train.main([*command, "--max_epoch", "2"])
    llm_train.main([*command, "--max_epoch", "3"])
    whole, halves = (gpu_recipe.load(gpu_recipe.root / name / "3epoch.pth") for name in ("whole", "halves"))
    assert whole.keys() == halves.keys()
    for name, weight in whole.items():
        assert torch.allclose(weight, halves[name], atol=1e-4), name


@pytest.mark.parametrize("name", ENCODERS)
def test_states_of_a_batch_are_those_of_the_cpu(build: Callable[..., HfEncoder], name: str) -> None:
    waveforms = [noise(seconds, index) for index, seconds in enumerate((0.5, 2.9, 1.7))]
    expected = build(name, overlap=1.0).many(waveforms)
    found = build(name, overlap=1.0).to("cuda").many(waveforms)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() < 2e-2 * other.std()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family.verdict == BOTH], ids=lambda family: family.model_type
)
def test_what_is_admitted_on_the_cpu_is_admitted(tiny_llm: Path, family: Family, dtype: Any) -> None:
    llm = LLM(LLMConfig("tiny", dtype=dtype), "cuda", family.build().to("cuda", getattr(torch, dtype)))
    admission = admit(llm, load_tokenizer(str(tiny_llm)))
    assert admission.prefix_masks == ("causal", "non_causal")
    assert admission.deviation < TOLERANCE


def test_a_batch_beyond_the_cards_memory_is_split() -> None:
    free, _ = torch.cuda.mem_get_info()
    sizes: list[int] = []

    def work(items: Any) -> list[int]:
        torch.empty(int(free * 0.4) * len(items), dtype=torch.uint8, device="cuda")
        sizes.append(len(items))
        return list(items)

    assert [item for item, _ in split_on_oom(work, range(8), str)] == list(range(8))
    assert set(sizes) == {2}


def test_an_llm_of_its_own_learns_on_the_gpu(tmp_path: Path) -> None:
    text = tmp_path / "text.tsv"
    pairs = [f"de\tDer Hund {word}.\tThe dog {word}.\n" for word in ("schläft", "trinkt", "sieht", "isst") * 20]
    text.write_text("lang\tsentence\ttranslation\n" + "".join(pairs), encoding="utf-8")
    config = TextLLMConfig(vocab_size=120, width=32, num_layers=2, num_heads=2, ffn_dim=64, num_steps=60, batch_size=8)
    folder = train_text_llm(config, TextCorpus(text, ["Die Katze."]), tmp_path, on_gpu=True)
    llm = LLM(LLMConfig(str(folder)), "cuda")
    assert admit(llm, load_tokenizer(str(folder))).prefix_masks == ("causal", "non_causal")
