"""The CTC heads of tiny checkpoints of each kind, against transformers' own models with a head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from speechllama.frontend.ctc_head import CTCUnitNumbers, read_unit_numbers, take_head
from speechllama.frontend.front_ends import HfSettings, choose_front_end
from speechllama.frontend.hf_encoder import HfEncoder
from test.frontend.encoders import ENCODERS, make_encoder, noise

NUM_UNITS, BLANK = 12, 3
# omniASR has a number of its own for blank, besides that of padding.
FAMILIES = [name for name in ENCODERS if name != "whisper"]


def make_checkpoint(folder: Path, name: str = "wav2vec2", **more: Any) -> Path:
    """Save a tiny CTC model whose blank is in the middle of its units."""
    blank = {"blank_token_id": BLANK} if name == "omniasr" else {"pad_token_id": BLANK}
    make_encoder(folder, name, transformers.AutoModelForCTC, **{"vocab_size": NUM_UNITS, **blank, **more})
    return sharpen(folder)


def sharpen(folder: Path) -> Path:
    """Make the weights of a CTC model larger than at birth, so that its labels differ from frame to frame."""
    model = transformers.AutoModelForCTC.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    model.save_pretrained(folder)
    return folder


def changing_noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes every 50 ms."""
    size = round(seconds * 16000)
    loudness = np.random.default_rng(seed).uniform(0.1, 3.0, size // 800 + 1).astype(np.float32)
    return noise(seconds, seed) * np.repeat(loudness, 800)[:size]


@pytest.mark.parametrize("name", FAMILIES)
def test_its_labels_are_those_of_transformers_own_model(name: str, tmp_path: Path) -> None:
    front_end = HfEncoder(HfSettings(str(make_checkpoint(tmp_path, name)), ctc_head=True, overlap=1.0))
    model = transformers.AutoModelForCTC.from_pretrained(tmp_path).eval()
    order = [3, 0, 1, 2, *range(4, NUM_UNITS)]
    head = front_end.ctc_head
    assert head is not None and head.weight.shape == (NUM_UNITS, front_end.dim)
    seen = set()
    for seconds in (0.4, 1.23, 2.0):
        waveform = changing_noise(seconds)
        inputs = front_end._inputs([waveform])
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        states = front_end(waveform)
        ours = head(torch.from_numpy(states))
        torch.testing.assert_close(ours, logits[:, order], atol=1e-4, rtol=1e-4)
        theirs = [order.index(number) for number in logits.argmax(-1).tolist()]
        assert ours.argmax(-1).tolist() == theirs
        seen |= {*theirs}
    assert len(seen) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_changes_no_state(name: str, tmp_path: Path) -> None:
    folder = str(make_checkpoint(tmp_path, name))
    plain, headed = (HfEncoder(HfSettings(folder, ctc_head=head, overlap=1.0)) for head in (False, True))
    assert plain.ctc_head is None and plain.weights == headed.weights
    np.testing.assert_array_equal(plain(noise(1.0)), headed(noise(1.0)))


def test_weights_in_half_precision_have_a_head_too(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    model = transformers.AutoModelForCTC.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(folder)
    for dtype in ("auto", "bfloat16"):
        head = HfEncoder(HfSettings(str(folder), ctc_head=True, overlap=1.0, dtype=dtype)).ctc_head
        assert head is not None and head.weight.dtype == torch.float32


def test_blank_comes_first() -> None:
    assert CTCUnitNumbers(5, 2).order() == [2, 0, 1, 3, 4]
    assert CTCUnitNumbers(3, 0).order() == [0, 1, 2]
    assert CTCUnitNumbers(3, 2).order() == [2, 0, 1]


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "wav2vec2", vocab_size=NUM_UNITS)  # transformers would draw a head at random
    with pytest.raises(ValueError, match=r"has no CTC head \(lm_head.bias, lm_head.weight are not in its weights\)"):
        HfEncoder(HfSettings(str(folder), ctc_head=True))


def test_a_model_that_no_CTC_model_is_made_of_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "whisper")
    for load in (HfEncoder, read_unit_numbers):
        with pytest.raises(
            ValueError, match=r"transformers has no CTC model of its kind \(whisper\); leave ctc_head out"
        ):
            load(HfSettings(str(folder), ctc_head=True))


@pytest.mark.parametrize("number", [None, -1, NUM_UNITS])
def test_a_checkpoint_without_a_blank_is_refused(number: int | None, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": number}))
    with pytest.raises(ValueError, match=rf"names no blank among 12 CTC units \(pad_token_id {number}\)"):
        HfEncoder(HfSettings(str(folder), ctc_head=True, overlap=1.0))


def test_a_head_of_several_layers_is_refused(tmp_path: Path) -> None:
    model = transformers.AutoModelForCTC.from_pretrained(make_checkpoint(tmp_path))
    model.lm_head = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, NUM_UNITS))
    with pytest.raises(
        ValueError,
        match=r"x: the CTC head of a Wav2Vec2ForCTC \(.*lm_head: Sequential\) is not one linear layer of 12 units",
    ):
        take_head(model, set(), "x")


def test_something_between_the_states_and_the_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path)
    model_class = transformers.Wav2Vec2ForCTC
    original = model_class.forward

    def changed(self: Any, *inputs: Any, **more: Any) -> Any:
        output = original(self, *inputs, **more)
        output.logits = output.logits.tanh()
        return output

    monkeypatch.setattr(model_class, "forward", changed)
    with pytest.raises(ValueError, match="gives other logits than the model itself"):
        HfEncoder(HfSettings(str(folder), ctc_head=True, overlap=1.0))


def test_other_layers_than_the_last_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layers \[3\] with ctc_head: the head reads the last states only"):
        choose_front_end("hf", {"path": "x", "layers": [3], "ctc_head": True})
