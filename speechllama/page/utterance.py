"""One utterance of a trained system: its alignment, and the picture of it as a file.

recording -> waveform (S,) -> alignment, text -> .svg, .pdf, .png or .json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.units import read_unit_texts
from speechllama.figure import figure_format, save_figure
from speechllama.files import write_json
from speechllama.model.alignment import Alignment, align
from speechllama.model.audio import Features
from speechllama.report.pictures.alignment import draw_alignment


@dataclass(frozen=True)
class Part:
    """A recording, or a part of it.

    Attributes:
        path: The file.
        start: Where the part begins, in seconds.
        end: Where it ends; None: with the recording.
        language: Code of the source language, needed only if the prompt names it.
    """

    path: str
    start: float = 0.0
    end: float | None = None
    language: str = ""


def align_speech(translator: Speech2Text, waveform: np.ndarray) -> Alignment:
    """Follow a waveform (S,) at 16 kHz through encoder and compressor of a system."""
    features = Features.pad(translator.extract([waveform]))
    return align(translator.network, features, waveform, read_unit_texts(translator.settings))


def draw_utterance(translator: Speech2Text, part: Part, output: str | Path, width: float = 0.0) -> Path:
    """Translate an utterance and draw what became of it.

    Args:
        translator: The system.
        part: The utterance.
        output: The picture, or with the suffix .json its numbers and the hypotheses.
        width: Of the picture in inches; 0: as the duration needs it.

    Returns:
        The file.

    Raises:
        ValueError: The suffix is unknown, the recording cannot be read, or it is too long for a picture.
    """
    output = Path(output)
    is_data = output.suffix == ".json"
    if not is_data:
        figure_format(output)
    waveform = read_audio(part.path, part.start, part.end)
    alignment = align_speech(translator, waveform)
    nbest = translator(waveform, SAMPLE_RATE, part.language)
    if is_data:
        hypotheses = [{"text": entry.text, "score": entry.score} for entry in nbest]
        write_json(output, {"audio": part.path, "start": part.start, "nbest": hypotheses, **alignment.to_json()})
        return output
    text = nbest[0].text if nbest else "(nothing was heard)"
    return save_figure(draw_alignment(alignment, text, part.start, width), output)
