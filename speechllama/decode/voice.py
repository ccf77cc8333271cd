"""How much a frame sounds like speech: windows of 32 ms -> 0 to 1, by silero-vad or by their energy.

silero-vad is an extra; its wheel holds the weights, so nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError

FRAME = 512  # samples of a window, the only size that silero-vad takes at 16 kHz
Detector = Callable[[np.ndarray], float]  # a window (FRAME,), in order -> how much it sounds like speech


def has_silero() -> bool:
    """Whether silero-vad is installed."""
    return importlib.util.find_spec("silero_vad") is not None


def silero_detector() -> Detector:
    """Make a detector with silero-vad; it remembers the windows before, so each recording has its own.

    Raises:
        ValueError: silero-vad is not installed.
    """
    if not has_silero():
        raise InputError(
            "finding speech needs silero-vad: pip install -e '.[vad]'; or cut the recording into even windows "
            "(--segmentation even)"
        )
    num_threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(num_threads)  # importing it takes all threads but one from the whole process
    model = load_silero_vad()

    def detect(frame: np.ndarray) -> float:
        with torch.inference_mode():
            return float(model(torch.from_numpy(np.ascontiguousarray(frame, dtype=np.float32)), SAMPLE_RATE))

    return detect


def energy(frame: np.ndarray) -> float:
    """Detect sound instead of speech: the root of the mean square of a window, 0 to 1."""
    return float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
