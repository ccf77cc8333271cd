"""What must stay as it is when code moves: losses and hypotheses of tiny, seeded trainings.

    test/pins/training.json     loss of the first and of the last update, hypotheses of the test set

To write it anew, then to see what is different:

    WRITE_PINS=1 python3 -m pytest test/test_training_pins.py
    git diff test/pins/training.json

The rule: a commit that changes a pin names the pin and says why it changes.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import average_checkpoints, learn_units, make_scratch_llm, seq2seq_train
from test.conftest import ROOT
from test.trained_recipe import LORA, MASKS, SEQ2SEQ_SIZES, SIZES, Recipe

TRAINING = ROOT / "test" / "pins" / "training.json"
IS_WRITING = bool(os.environ.get("WRITE_PINS"))

TRAINED = ("ctc", "e5", "e6", "e0", "d", "u_frozen", "u", "b1")
DECODED = ("e6_beam3_cache", "e5_greedy_features", "d_beam3_long", "b1_beam3")
SEED = 5
TOLERANCE = 1e-4  # relative; other CPUs and releases of torch add numbers up in another order
UNITS = '{"num_clusters": 12}'
SETTINGS: dict[str, Any] = {"seed": SEED, "use_matplotlib": False}  # pictures would take most of the time
LLM_SETTINGS: dict[str, Any] = {**SETTINGS, "batch_bins": 100, "max_epoch": 3}  # some updates an epoch


@contextmanager
def training_losses() -> Iterator[list[float]]:
    """Collect the loss of every training batch: what a model returns to ESPnet's trainer is (loss, stats, weight)."""
    losses: list[float] = []

    def note(module: torch.nn.Module, _: Any, output: Any) -> None:
        is_model = isinstance(output, tuple) and len(output) == 3 and isinstance(output[1], dict)
        if is_model and "loss" in output[1] and module.training:
            losses.append(float(output[0].detach()))

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield losses
    finally:
        handle.remove()


class PinnedRun:
    """Tiny trainings on noise, each with the seed and the losses that it went through.

    Attributes:
        losses: System -> loss of its first and of its last update, and how many updates there were.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.losses: dict[str, dict[str, float]] = {}

    @contextmanager
    def noted(self, system: str) -> Iterator[None]:
        """Note the losses of the training inside."""
        with training_losses() as losses:
            yield
        self.losses[system] = {"num_updates": len(losses), "first": losses[0], "last": losses[-1]}

    def measure(self) -> dict[str, Any]:
        """Train and decode everything -> losses and hypotheses, as test/pins/training.json has them."""
        self.train_on_ctc()
        self.train_from_scratch()
        self.train_on_units()
        self.train_seq2seq()
        decoded = (
            self.decode("e6", "compressed"),
            self.decode("e5", "dump", "--beam_size", "1", "--nbest", "1"),
            self.decode("d", "dump", "--length_penalty", "2.0"),  # with less it writes nothing
            self.decode("b1", "dump"),
        )
        return {"losses": self.losses, "hypotheses": dict(zip(DECODED, decoded, strict=True))}

    def train_llm(self, system: str, *more: str, source: str = "compressed", **settings: Any) -> None:
        """Train a speech LLM and average it."""
        with self.noted(system):
            self.recipe.train_llm(system, *more, source=source, **LLM_SETTINGS, **settings)
        self.recipe.average(system)

    def train_on_ctc(self) -> None:
        """CTC, its cache, then E5 and E6."""
        with self.noted("ctc"):
            self.recipe.train_ctc("ctc", **SETTINGS)
        for part in ("train", "dev", "test"):
            self.recipe.compress(part)
        self.train_llm("e5", prefix_mask="non_causal")
        start = ("--init_from", str(self.recipe.root / "e5"))
        self.train_llm("e6", *start, prefix_mask="non_causal", llm_conf=LORA)

    def train_from_scratch(self) -> None:
        """E0 and D, whose encoders learn with the LLM's loss."""
        encoder = {"conv_channels": 2, "transformer": SIZES, "spec_augment": MASKS}
        causal = {"prefix_mask": "causal", "freeze_encoder": False}
        self.train_llm("e0", source="dump", compressor="convolution", encoder_conf=encoder, **causal)
        root, none = self.recipe.root, {**SIZES, "num_layers": 0}
        sizes = {"vocab_size": 90, "width": 24, "num_layers": 2, "num_heads": 2, "ffn_dim": 32}
        (root / "decoder.yaml").write_text(yaml.safe_dump(sizes))
        make_scratch_llm.main(
            ["--config", str(root / "decoder.yaml"), "--text", str(root / "train/dump/text")]
            + ["--output_dir", str(root / "llm_d")]
        )
        self.train_llm(
            *("d", "--llm_dir", str(root / "llm_d")),
            source="dump",
            compressor="none",
            freeze_encoder=False,
            encoder_conf={**encoder, "transformer": none},
            audio_encoder_conf=none,
            llm_conf={"train": "full", "random_weights": True},
            prompt_conf={"template": "{audio}", "start": "behind_audio"},
        )

    def train_on_units(self) -> None:
        """U: k-means, a cache of units, their embeddings, then LoRA."""
        root = self.recipe.root
        learn_units.main(
            ["--ctc_dir", str(root / "ctc"), "--data_dir", str(root / "train/dump"), "--seed", str(SEED)]
            + ["--compressor_conf", UNITS, "--output_file", str(root / "centroids.npz"), *self.recipe.device]
        )
        more = ["--centroids_file", str(root / "centroids.npz")]
        for part in ("train", "dev"):
            units = ("--compressor", "units", "--compressor_conf", UNITS, *more)
            self.recipe.compress(part, *units, name="units")
        settings: dict[str, Any] = {
            "compressor": "units",
            "compressor_conf": json.loads(UNITS),
            "prefix_mask": "causal",
        }
        self.train_llm("u_frozen", *more, source="units", **settings)
        start = ("--init_from", str(root / "u_frozen"))
        self.train_llm("u", *more, *start, source="units", llm_conf=LORA, **settings)

    def train_seq2seq(self) -> None:
        """B1, an encoder-decoder on features."""
        recipe, root, parts = self.recipe, self.recipe.root, ("train", "dev")
        training = {**SETTINGS, "batch_bins": 40000, "max_epoch": 8}  # until it writes more than one token
        config = recipe.config("b1", model="seq2seq", network_conf=SEQ2SEQ_SIZES, **training)
        data = [recipe.data(f"{part}/dump", "feats.scp,speech,kaldi_ark", "src_text,text,text") for part in parts]
        shapes = [[str(root / "stats" / part / kind) for kind in ("speech_shape", "text_shape")] for part in parts]
        with self.noted("b1"):
            seq2seq_train.main(
                ["--config", config, "--output_dir", str(root / "b1"), *recipe.device]
                + ["--tokenizer", str(root / "bpe/bpe.model"), "--cmvn_file", str(root / "stats/cmvn.npz")]
                + recipe.options(data, shapes)
            )
        average_checkpoints.main(["--exp_dir", str(root / "b1"), "--num_best", "2"])

    def decode(self, system: str, source: str, *more: str) -> dict[str, Any]:
        """The text of every utterance of the test set, and the tokens and scores of its n-best list."""
        output = f"{system}/decoded"
        texts = self.recipe.decode(system, source, output, *more)
        _, *lines = (self.recipe.root / output / "nbest.jsonl").read_text(encoding="utf-8").splitlines()
        records = {record["utt"]: record["nbest"] for record in map(json.loads, lines)}
        return {
            utt: {
                "text": texts[utt],
                "tokens": [hypothesis["tokens"] for hypothesis in nbest],
                "scores": [hypothesis["score"] for hypothesis in nbest],
            }
            for utt, nbest in sorted(records.items())
        }


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> dict[str, Any]:
    """Losses and hypotheses of today, of one thread on the CPU."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = PinnedRun(Recipe(tmp_path_factory.mktemp("pins"), tiny_llm)).measure()
    finally:
        torch.set_num_threads(num_threads)
    if IS_WRITING:
        text = json.dumps(found, indent=1, ensure_ascii=False)
        text = re.sub(r"\[[^][{}]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text)  # tokens in a row
        TRAINING.write_text(text + "\n", encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def pinned(measured: dict[str, Any]) -> dict[str, Any]:
    """Losses and hypotheses as they were."""
    content: dict[str, Any] = json.loads(TRAINING.read_text(encoding="utf-8"))
    return content


def test_every_training_and_every_decoding_is_pinned(measured: dict[str, Any], pinned: dict[str, Any]) -> None:
    assert set(measured["losses"]) == set(pinned["losses"]) == set(TRAINED)
    assert set(measured["hypotheses"]) == set(pinned["hypotheses"]) == set(DECODED)


@pytest.mark.parametrize("system", TRAINED)
def test_a_seeded_training_has_the_losses_it_had(measured: dict[str, Any], pinned: dict[str, Any], system: str) -> None:
    found, expected = measured["losses"][system], pinned["losses"][system]
    assert found["num_updates"] == expected["num_updates"] >= 6
    assert found["first"] == pytest.approx(expected["first"], rel=TOLERANCE)
    assert found["last"] == pytest.approx(expected["last"], rel=TOLERANCE)
    assert not math.isclose(expected["first"], expected["last"], rel_tol=10 * TOLERANCE)  # it learns something


@pytest.mark.parametrize("name", DECODED)
def test_a_decoding_gives_the_hypotheses_it_gave(measured: dict[str, Any], pinned: dict[str, Any], name: str) -> None:
    found, expected = measured["hypotheses"][name], pinned["hypotheses"][name]
    assert len(found) == 6 and found.keys() == expected.keys()
    for utterance, now in found.items():
        before = expected[utterance]
        assert now["text"] == before["text"] != "", utterance
        assert now["tokens"] == before["tokens"], utterance
        assert now["scores"] == pytest.approx(before["scores"], rel=TOLERANCE), utterance
