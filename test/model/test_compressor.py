"""Compressor against a loop over frames, in every mode; padding, gradients, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from speechllama.model.compressor import (
    COMPRESSORS,
    ConvolutionCompressor,
    build_compressor,
)
from speechllama.model.ctc_encoder import Encoded

RUN_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("blank_removal", {}),
    ("frame_average", {}),
    ("frame_average", {"drop_blank_runs": True}),
    ("frame_average", {"max_compressed_length": 4}),
    ("blank_removal", {"max_compressed_length": 3}),
    ("none", {}),
]
OTHERS = (
    "units",
    "posteriors",
)  # those that write no vectors of the encoder's width: test_units.py, test_posteriors.py
VECTOR_COMPRESSORS = [name for name in COMPRESSORS if name not in OTHERS]


def make_batch(seed: int = 0, all_blank_row: bool = True) -> Encoded:
    """Six utterances of few labels, so that runs are long; one is all blank."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (6, 20), generator=generator).repeat_interleave(2, dim=1)
    logits = torch.nn.functional.one_hot(labels, 5).float() * 4 + torch.rand(6, 40, 5, generator=generator)
    if all_blank_row:
        logits[2, :, 0] += 50 + torch.rand(40, generator=generator)
    return Encoded(torch.randn(6, 40, 3, generator=generator), logits, torch.tensor([40, 1, 17, 33, 39, 8]))


def loop(hidden: torch.Tensor, logits: torch.Tensor, name: str, conf: dict[str, Any]) -> list[torch.Tensor]:
    """One utterance, frame by frame: the definition."""
    labels = logits.argmax(-1).tolist()
    if name == "none":
        runs = [[frame] for frame in range(len(labels))]
    elif name == "blank_removal":
        runs = [[frame] for frame, label in enumerate(labels) if label != 0]
    else:
        runs, frame = [], 0
        for label, group in itertools.groupby(labels):
            size = len(list(group))
            if label != 0 or not conf.get("drop_blank_runs"):
                runs.append(list(range(frame, frame + size)))
            frame += size
    if not runs:
        blank = logits.softmax(-1)[:, 0].tolist()
        runs = [[blank.index(min(blank))]]
    limit = conf.get("max_compressed_length", len(runs))
    if len(runs) > limit:
        merged: list[list[int]] = [[] for _ in range(limit)]
        for number, run in enumerate(runs):
            merged[number * limit // len(runs)] += run
        runs = merged
    return [torch.stack([hidden[frame] for frame in run]).mean(0) for run in runs]


@pytest.mark.parametrize(("name", "conf"), RUN_CONFIGS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_every_mode_equals_the_loop(name: str, conf: dict[str, Any], seed: int) -> None:
    encoded = make_batch(seed)
    compressed = build_compressor(name, conf, 3)(encoded)
    for row, length in enumerate(encoded.lengths.tolist()):
        expected = loop(encoded.hidden[row, :length], encoded.logits[row, :length], name, conf)
        assert compressed.lengths[row].item() == len(expected)
        torch.testing.assert_close(compressed.vectors[row, : len(expected)], torch.stack(expected))
        assert not compressed.vectors[row, len(expected) :].any()
        assert (compressed.runs[row, length:] == -1).all()


@pytest.mark.parametrize(("name", "conf"), RUN_CONFIGS, ids=str)
def test_runs_tell_which_frames_a_vector_averages(name: str, conf: dict[str, Any]) -> None:
    encoded = make_batch()
    compressed = build_compressor(name, conf, 3)(encoded)
    for row, length in enumerate(compressed.lengths.tolist()):
        for vector in range(length):
            frames = encoded.hidden[row][compressed.runs[row] == vector]
            torch.testing.assert_close(compressed.vectors[row, vector], frames.mean(0))


def test_an_all_blank_utterance_keeps_its_least_blank_frame() -> None:
    encoded = make_batch()
    compressed = build_compressor("blank_removal", {}, 3)(encoded)
    least = encoded.logits[2, :17].softmax(-1)[:, 0].argmin()
    assert compressed.lengths[2].item() == 1
    torch.testing.assert_close(compressed.vectors[2, 0], encoded.hidden[2, least])


@pytest.mark.parametrize("name", VECTOR_COMPRESSORS)
def test_padding_never_changes_an_utterance(name: Any) -> None:
    torch.manual_seed(0)
    encoded = make_batch()
    compressor = build_compressor(name, {}, 3)
    batched = compressor(encoded)
    for row, length in enumerate(encoded.lengths.tolist()):
        hidden, logits = (part[row : row + 1, :length] for part in encoded[:2])
        single = compressor(Encoded(hidden, logits, encoded.lengths[row : row + 1]))
        size = int(single.lengths)
        assert size == int(batched.lengths[row])
        torch.testing.assert_close(batched.vectors[row, :size], single.vectors[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", VECTOR_COMPRESSORS)
def test_gradients_reach_exactly_the_frames_kept(name: Any) -> None:
    torch.manual_seed(0)
    encoded = make_batch()
    hidden = encoded.hidden.clone().requires_grad_()
    compressed = build_compressor(name, {}, 3)(encoded._replace(hidden=hidden))
    compressed.vectors.square().sum().backward()
    assert hidden.grad is not None
    touched = hidden.grad.abs().sum(-1) > 0
    if name == "convolution":
        assert not any(touched[row, length:].any() for row, length in enumerate(encoded.lengths.tolist()))
    else:
        assert torch.equal(touched, compressed.runs >= 0)


def test_bfloat16_is_averaged_in_float32() -> None:
    hidden = torch.full((1, 1000, 1), 1.0, dtype=torch.bfloat16)
    logits = torch.zeros(1, 1000, 2)
    compressed = build_compressor("frame_average", {}, 1)(Encoded(hidden, logits, torch.tensor([1000])))
    assert compressed.vectors.dtype == torch.bfloat16
    assert compressed.vectors.item() == 1.0  # a bfloat16 sum would stop at 256


def test_convolution_shortens_eight_times() -> None:
    encoded = Encoded(torch.randn(2, 40, 3), torch.zeros(2, 40, 0), torch.tensor([40, 9]))
    assert ConvolutionCompressor(3)(encoded).lengths.tolist() == [5, 2]


@pytest.mark.parametrize(
    ("name", "conf", "message"),
    [
        ("frame_avrage", {}, "unknown compressor 'frame_avrage', expected one of .*; did you mean 'frame_average'"),
        ("blank_removal", {"drop_blank_runs": True}, "u.yaml: unknown key 'drop_blank_runs'; known are max_compressed"),
        ("frame_average", {"max_compressed_length": 0}, "u.yaml: max_compressed_length 0 must be at least 1"),
        ("units", {}, "u.yaml: num_clusters is 0: the compressor units needs at least 1"),
        ("none", {"num_clusters": 9}, "u.yaml: unknown key 'num_clusters'; there are no settings here"),
        ("convolution", {"max_compressed_length": 5}, "u.yaml: unknown key 'max_compressed_length'"),
    ],
)
def test_impossible_settings_are_refused(name: str, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_compressor(name, conf, 3, "u.yaml")


@pytest.mark.parametrize("name", ["blank_removal", "frame_average"])
def test_an_encoder_without_a_ctc_head_is_refused(name: str) -> None:
    encoded = make_batch()
    with pytest.raises(ValueError, match="this compressor needs CTC logits, and the encoder has no CTC head"):
        build_compressor(name, {}, 3)(encoded._replace(logits=encoded.logits[:, :, :0]))
