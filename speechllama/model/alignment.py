"""Alignment of one utterance: the CTC unit of each encoder frame, the runs of equal units, the vectors they became.

    features (T, F) -> encoder frames (M) -> runs -> vectors (U), all with their times

Decoding needs none of this; it is for people who want to see what the compressor did.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechllama.constants import BLANK, SAMPLE_RATE
from speechllama.frontend.fbank import Fbank
from speechllama.model.audio import Encoded, Features
from speechllama.model.compressor import DROPPED, NoCompressor, UnitCompressor
from speechllama.model.seq2seq import Seq2Seq
from speechllama.model.speech_llama import SpeechLlama


@dataclass(frozen=True)
class Run:
    """Neighbouring encoder frames with the same best CTC unit.

    Attributes:
        start: Of its first frame, in seconds.
        end: Of its last frame, in seconds.
        unit: Number of the unit; 0 is blank.
        text: The unit's text, with a space in front where it begins a word; "" of blank, or where texts are unknown.
        probability: Of the unit, mean over the frames, 0 to 1.
        num_vectors: Vectors that its frames are part of; 0 where the run was dropped.
    """

    start: float
    end: float
    unit: int
    text: str
    probability: float
    num_vectors: int

    @property
    def is_blank(self) -> bool:
        """Whether the unit is CTC's blank."""
        return self.unit == BLANK


@dataclass(frozen=True)
class Vector:
    """What the LLM, or the decoder of an encoder-decoder, reads at one position.

    Attributes:
        start: Of its first frame, in seconds.
        end: Of its last frame, in seconds.
        label: What it is of: the text of its CTC units, or the number of a discrete unit; "" without either.
    """

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Alignment:
    """What became of one utterance on its way to the LLM.

    Attributes:
        log_mel: Log-mel energies (T, 80), float32, one frame every 10 ms, whatever the network's front end is.
        seconds: Duration.
        frame_shift: Seconds from an encoder frame to the next.
        units: Best CTC unit of each encoder frame (M); empty without a CTC head.
        probabilities: Of these units, 0 to 1 (M).
        frame_to_vector: Vector of each encoder frame (M), -1 where it was dropped.
        runs: Runs of equal units, in order; none without a CTC head.
        vectors: The vectors U, in order.
    """

    log_mel: np.ndarray
    seconds: float
    frame_shift: float
    units: tuple[int, ...]
    probabilities: tuple[float, ...]
    frame_to_vector: tuple[int, ...]
    runs: tuple[Run, ...]
    vectors: tuple[Vector, ...]

    @property
    def ratio(self) -> float:
        """Feature frames of 10 ms for each vector, as in the report on CTC."""
        return len(self.log_mel) / len(self.vectors)

    @property
    def num_frames(self) -> int:
        """Encoder frames M."""
        return len(self.frame_to_vector)

    def to_json(self) -> dict[str, Any]:
        """All but the log-mel energies, as JSON has it."""
        fields = {name: value for name, value in vars(self).items() if name not in ("log_mel", "runs", "vectors")}
        lists = {name: [dataclasses.asdict(each) for each in getattr(self, name)] for name in ("runs", "vectors")}
        return {**fields, "num_feature_frames": len(self.log_mel), "ratio": round(self.ratio, 4), **lists}


def align(
    network: SpeechLlama | Seq2Seq, features: Features, waveform: np.ndarray, unit_texts: Sequence[str] = ()
) -> Alignment:
    """Follow one utterance through encoder and compressor.

    Args:
        network: A trained network; an encoder-decoder compresses nothing, so each encoder frame is a vector.
        features: What it reads of the utterance, B = 1.
        waveform: The utterance (S,), 16 kHz.
        unit_texts: The text of each CTC unit, of blank the first; empty where unknown.

    Returns:
        The alignment. A vector of the compressor `convolution` has the frames of its stride; it sees a few more.
    """
    with torch.inference_mode():
        encoded = encode(network, features)
        frame_to_vector, num_vectors, labels = _follow(network, encoded)
        units, probabilities = _best(encoded.logits[0])
    seconds = len(waveform) / SAMPLE_RATE
    shift = network.frame_shift if isinstance(network, Seq2Seq) else network.encoder.frame_shift
    clock = Clock(shift, seconds)
    runs = _find_runs(units, probabilities, frame_to_vector, (unit_texts, clock))
    texts = {run.start: run.text for run in runs}
    members: list[list[int]] = [[] for _ in range(num_vectors)]
    for frame, vector in enumerate(frame_to_vector):
        if vector != DROPPED:
            members[vector].append(frame)
    vectors = []
    for vector, frames in enumerate(members):
        label = labels[vector] if labels else "".join(texts.get(clock.start(frame), "") for frame in frames).strip()
        vectors.append(Vector(clock.start(frames[0]), clock.end(frames[-1]), label))
    sequences = (tuple(units), tuple(probabilities), tuple(frame_to_vector), tuple(runs), tuple(vectors))
    return Alignment(Fbank()(waveform), seconds, shift, *sequences)


class Clock(NamedTuple):
    """Times of encoder frames, `shift` seconds apart, in an utterance of `seconds`."""

    shift: float
    seconds: float

    def start(self, frame: int) -> float:
        """When a frame begins, in seconds."""
        return round(min(frame * self.shift, self.seconds), 6)

    def end(self, frame: int) -> float:
        """When a frame ends, in seconds."""
        return self.start(frame + 1)


def _find_runs(
    units: Sequence[int],
    probabilities: Sequence[float],
    frame_to_vector: Sequence[int],
    names: tuple[Sequence[str], Clock],
) -> list[Run]:
    """Runs of equal units; `names` has the units' texts, if known, and the frames' times."""
    texts, clock = names
    runs, begin = [], 0
    for unit, group in itertools.groupby(units):
        end = begin + len(list(group))
        num_vectors = len(set(frame_to_vector[begin:end]) - {DROPPED})
        probability = round(sum(probabilities[begin:end]) / (end - begin), 6)
        text = texts[unit] if unit < len(texts) else ""
        runs.append(Run(clock.start(begin), clock.end(end - 1), unit, text, probability, num_vectors))
        begin = end
    return runs


def encode(network: SpeechLlama | Seq2Seq, features: Features) -> Encoded:
    """States and CTC logits of a network of either kind; those of an encoder-decoder are log-probabilities."""
    device = next(network.parameters()).device
    features = features.to(device)
    if isinstance(network, Seq2Seq):
        states = network.encode(*features)
        return Encoded(states.states, states.ctc_log_probs, states.lengths)
    encoded: Encoded = network.encoder(*features)
    return encoded


def _follow(network: SpeechLlama | Seq2Seq, encoded: Encoded) -> tuple[list[int], int, list[str]]:
    """Vector of each frame, the number of vectors, and their labels where the compressor has its own."""
    compressor = NoCompressor() if isinstance(network, Seq2Seq) else network.compressor
    compressed = compressor(encoded)
    num_frames, num_vectors = int(encoded.lengths[0]), int(compressed.lengths[0])
    if compressed.runs is None:  # such as strided convolutions: the same number of frames each
        known = None if isinstance(network, Seq2Seq) else network.config.compressor.record.frames_per_vector
        stride = known or -(-num_frames // num_vectors)
        return [min(frame // stride, num_vectors - 1) for frame in range(num_frames)], num_vectors, []
    labels = compressed.vectors[0, :num_vectors].tolist() if isinstance(compressor, UnitCompressor) else []
    return compressed.runs[0, :num_frames].tolist(), num_vectors, [str(label) for label in labels]


def _best(logits: Tensor) -> tuple[list[int], list[float]]:
    """Best unit of each frame and its probability, from logits (M, C); none without a CTC head."""
    if not logits.shape[1]:
        return [], []
    probabilities, units = logits.float().softmax(-1).max(-1)
    return units.tolist(), [round(probability, 6) for probability in probabilities.tolist()]
