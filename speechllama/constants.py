"""Constants that several modules share; each is defined only here."""

from __future__ import annotations

SAMPLE_RATE = 16000  # Hz, of every waveform inside the project
BATCH_SECONDS = 120.0  # of speech, with the padding, that go through a speech encoder at once
BLANK = 0  # CTC unit 0; unit u > 0 is SentencePiece piece u - 1
SPLITS = ("train", "dev", "test")  # the sets that stage `data` writes

# Defaults of the front end `fbank` and of the encoder `transformer` (arXiv 2307.03917, section 4).
NUM_MELS = 80
FRAME_SHIFT = 0.010  # seconds
SUBSAMPLING = 4  # feature frames to a frame of the CTC encoder

SEQ2SEQ = "seq2seq"  # `model` of an encoder-decoder, in its YAML and in its config.yaml
# Names of records whose modules import numpy or torch.
DEFAULT_FRONT_END = "fbank"  # of FRONT_ENDS
DEFAULT_ENCODER = "transformer"  # of ENCODERS
OWN_HEAD = "own_head"  # of ENCODERS: a pre-trained encoder's own CTC head
UNITS_FILE = "units.json"  # that head's CTC units
