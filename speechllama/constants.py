"""Constants that several modules share; each is defined only here."""

from __future__ import annotations

SAMPLE_RATE = 16000  # Hz, of every waveform inside the project
BLANK = 0  # CTC unit 0; unit u > 0 is SentencePiece piece u - 1
SPLITS = ("train", "dev", "test")  # the sets that stage `data` writes

# Of the paper's front end (arXiv 2307.03917, section 4), which the estimates made before any feature exists go by.
NUM_MELS = 80
FRAME_SHIFT = 0.010  # seconds
SUBSAMPLING = 4  # feature frames to a frame of the CTC encoder

DEFAULT_ENCODER = "transformer"  # of ENCODERS; here, since their module brings torch
