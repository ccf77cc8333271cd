"""Translate a recording of any length: file, waveform or blocks -> pieces -> batches -> segments with their times."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import resample, to_unit_scale
from speechllama.data.blocks import Counted, read_blocks
from speechllama.decode.segmenter import CutConfig, cut
from speechllama.faults import InputError, naming_file
from speechllama.text.runaway import ADVICE, is_runaway
from speechllama.text.tasks import num_texts

if TYPE_CHECKING:
    from speechllama.decode.speech2text import Speech2Text, Translation

Item = TypeVar("Item")


@dataclass(frozen=True)
class LongConfig(CutConfig):
    """How a long recording is translated, in addition to how it is cut.

    Attributes:
        batch_size: Segments at once; halved when memory runs out.
    """

    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise InputError(f"batch_size {self.batch_size}: expected at least 1")


@dataclass(frozen=True)
class Segment:
    """A part of a recording and its translation.

    Attributes:
        start: Where it begins, in seconds of the recording.
        end: Where it ends.
        nbest: Hypotheses, best first; none if nothing is heard.
    """

    start: float
    end: float
    nbest: list[Translation]

    @property
    def text(self) -> str:
        """The best hypothesis; "" if nothing is heard."""
        return self.nbest[0].text if self.nbest else ""

    @property
    def is_cut(self) -> bool:
        """Whether the limit of tokens ended the text."""
        return bool(self.nbest) and self.nbest[0].is_cut


def warn_if_cut(name: str, segment: Segment, translator: Speech2Text) -> None:
    """Say that a segment's text is not whole."""
    if segment.is_cut:
        tokens = segment.nbest[0].tokens
        seconds = segment.end - segment.start
        why = translator.config.explain_cut(len(tokens), seconds, num_texts(translator.settings))
        why += f"; it repeats itself to the end, which --{ADVICE} forbids" if is_runaway(tokens) else ""
        logging.warning("%s: %.1f to %.1f s: the text was cut at %s", name, segment.start, segment.end, why)


def translate_long(
    translator: Speech2Text,
    blocks: Iterable[np.ndarray],
    config: LongConfig,
    language: str = "",
    target: str = "",
) -> Iterator[Segment]:
    """Translate segment by segment what `open_blocks` gives; see `Speech2Text.long`."""
    counted, is_empty = Counted(blocks), True
    for pieces in in_batches(cut(counted, config), config.batch_size):
        num = len(pieces)
        found = translator.batch([piece.waveform for piece in pieces], [language] * num, [target] * num)
        for piece, nbest in zip(pieces, found, strict=True):
            is_empty = False
            yield Segment(piece.start, piece.end, nbest)
    if is_empty:
        yield Segment(0.0, counted.seconds, [])


def name_faults(segments: Iterable[Segment], source: object) -> Iterator[Segment]:
    """Pass segments on; a fault that is met in the middle has the name of the file, if the source is the path of one.

    Raises:
        ValueError: The fault.
    """
    with naming_file(source):
        yield from segments


def open_blocks(
    speech: np.ndarray | str | Path | Iterable[np.ndarray], rate: int = SAMPLE_RATE
) -> Iterable[np.ndarray]:
    """Make blocks at 16 kHz of a file or a waveform; blocks stay what they are."""
    if isinstance(speech, (str, Path)):
        return read_blocks(speech)
    if isinstance(speech, np.ndarray):
        return [resample(to_unit_scale(speech), rate)]
    return speech


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Group items in order; the last group may be smaller."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
