"""What is shown of an utterance is what the compressor did: against a loop over frames, with every compressor."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.model.alignment import Alignment, align, encode
from speechllama.model.audio import Features
from speechllama.model.seq2seq import Seq2Seq
from speechllama.model.speech_llama import SpeechLlama
from test.model.conftest import NUM_FEATURES, build, compressor

TEXTS = ["", "", "▁a".replace("▁", " "), "b", " c", "d"]  # of blank, the unknown unit and four more
SHIFT = 0.04
NUM_FRAMES = 118  # features, 1.2 s: 30 encoder frames
WAVEFORM = (np.random.default_rng(0).normal(size=19200) * 0.1).astype(np.float32)
FRESH: dict[str, Any] = {"freeze_encoder": False}


def make_features(num_frames: int = NUM_FRAMES) -> Features:
    generator = torch.Generator().manual_seed(5)
    return Features(torch.randn(1, num_frames, NUM_FEATURES, generator=generator), torch.tensor([num_frames]))


def network_with(tiny_llm: Path, name: str, conf: dict[str, Any], **changes: Any) -> SpeechLlama:
    """A network whose CTC head is undecided enough for many runs."""
    network = build(tiny_llm, compressor=compressor(name, **conf), **changes)
    head: Any = network.encoder.head
    if head is not None:
        with torch.no_grad():  # all units are about as likely, blank a little more
            head.weight.mul_(20.0)
            head.bias.sub_(encode(network, make_features()).logits[0].mean(0))
            head.bias[0] += 3.0
    return network


def labels_of(network: Any) -> tuple[list[int], list[float]]:
    with torch.no_grad():
        logits = encode(network, make_features()).logits[0].softmax(-1)
    return logits.argmax(-1).tolist(), logits.amax(-1).tolist()


def spans(alignment: Alignment) -> list[tuple[float, float]]:
    return [(vector.start, vector.end) for vector in alignment.vectors]


def times(first: int, last: int) -> tuple[float, float]:
    return pytest.approx((first * SHIFT, min(1.2, (last + 1) * SHIFT)))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("frame_average", {}),
        ("frame_average", {"drop_blank_runs": True}),
        ("blank_removal", {}),
        ("posteriors", {"num_best": 2}),
    ],
)
def test_runs_and_vectors_are_those_of_a_loop_over_frames(tiny_llm: Path, name: str, conf: dict[str, Any]) -> None:
    network = network_with(tiny_llm, name, conf)
    labels, probabilities = labels_of(network)
    alignment = align(network, make_features(), WAVEFORM, TEXTS)
    assert alignment.units == tuple(labels) and alignment.probabilities == pytest.approx(probabilities, abs=1e-5)
    keeps_blank = name == "frame_average" and not conf
    expected, begin = [], 0
    assert len(alignment.runs) > 5 and 0 in labels
    for run, (unit, group) in zip(alignment.runs, itertools.groupby(labels), strict=True):
        size = len(list(group))
        assert (run.start, run.end) == times(begin, begin + size - 1)
        assert (run.unit, run.text, run.is_blank) == (unit, TEXTS[unit], unit == 0)
        assert run.probability == pytest.approx(np.mean(probabilities[begin : begin + size]), abs=1e-5)
        parts = [(begin, begin + size - 1)]
        if name == "blank_removal":
            parts = [(frame, frame) for frame in range(begin, begin + size)]
        parts = parts if unit or keeps_blank else []
        assert run.num_vectors == len(parts)
        expected += [(times(*part), TEXTS[unit].strip() if number == 0 else "") for number, part in enumerate(parts)]
        begin += size
    assert spans(alignment) == [span for span, _ in expected]
    assert [vector.label for vector in alignment.vectors] == [label for _, label in expected]
    assert alignment.log_mel.shape == (118, 80) and alignment.ratio == pytest.approx(118 / len(expected))


def test_merged_runs_are_one_vector_with_the_texts_of_all(tiny_llm: Path) -> None:
    alignment = align(network_with(tiny_llm, "frame_average", {"max_compressed_length": 3}), *inputs())
    assert len(alignment.vectors) == 3 and spans(alignment)[0][0] == 0 and spans(alignment)[-1][1] == 1.2
    assert "".join(v.label for v in alignment.vectors).replace(" ", "") == "".join(
        run.text.strip() for run in alignment.runs
    )


def inputs() -> tuple[Features, np.ndarray, list[str]]:
    return make_features(), WAVEFORM, TEXTS


def test_discrete_units_are_named_by_their_numbers(tiny_llm: Path) -> None:
    network = network_with(tiny_llm, "units", {"num_clusters": 7})
    alignment = align(network, *inputs())
    with torch.no_grad():
        units = network.compress(make_features()).vectors[0].tolist()
    assert [vector.label for vector in alignment.vectors] == [str(unit) for unit in units]


@pytest.mark.parametrize(("num_frames", "expected"), [(NUM_FRAMES, [8, 8, 8, 6]), (36, [8, 1])])
def test_a_vector_of_convolutions_has_the_frames_of_its_stride(
    tiny_llm: Path, num_frames: int, expected: list[int]
) -> None:
    network = network_with(tiny_llm, "convolution", {}, **FRESH)
    alignment = align(network, make_features(num_frames), WAVEFORM)
    assert [alignment.frame_to_vector.count(vector) for vector in range(len(alignment.vectors))] == expected
    assert alignment.runs == () and alignment.units == ()


def test_without_a_compressor_each_frame_is_a_vector(tiny_llm: Path, tiny_seq2seq: Seq2Seq) -> None:
    decoder_only = align(network_with(tiny_llm, "none", {}, **FRESH), *inputs())
    assert decoder_only.frame_to_vector == tuple(range(30)) and decoder_only.runs == ()
    encoder_decoder = align(tiny_seq2seq, make_features(), WAVEFORM, ["", *"abcdefg"])
    assert encoder_decoder.frame_to_vector == tuple(range(30)) and len(encoder_decoder.units) == 30
    labels, probabilities = labels_of(tiny_seq2seq)
    assert encoder_decoder.units == tuple(labels)
    assert encoder_decoder.probabilities == pytest.approx(probabilities, abs=1e-5)


def test_as_json_it_has_all_but_the_spectrogram(tiny_llm: Path) -> None:
    alignment = align(network_with(tiny_llm, "frame_average", {"drop_blank_runs": True}), *inputs())
    record = alignment.to_json()
    assert record["num_feature_frames"] == 118 and "log_mel" not in record
    assert {run["num_vectors"] for run in record["runs"]} == {0, 1}
    assert record["vectors"][0].keys() == {"start", "end", "label"}
