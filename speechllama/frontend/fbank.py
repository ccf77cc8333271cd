"""The front end `fbank`: waveform (S,) -> log-mel energies (T, F), Kaldi-compatible."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.frontend.front_ends import FbankSettings, describe_short

INT16_SCALE = 32768.0  # Kaldi computes on 16-bit sample values, a waveform here is within +-1


class Fbank:
    """Log-mel energies; what is no setting is Kaldi's default (povey, pre-emphasis 0.97, 20 Hz to 8 kHz).

    Args:
        settings: Bins, window and step.
    """

    def __init__(self, settings: FbankSettings | None = None) -> None:
        self.settings = settings or FbankSettings()

    @property
    def dim(self) -> int:
        """Width F."""
        return self.settings.num_mel_bins

    @property
    def frame_shift(self) -> float:
        """Seconds from a frame to the next."""
        return self.settings.frame_shift_ms / 1000

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute log-mel features.

        Args:
            waveform: Samples (S,) within about +-1.

        Returns:
            Features (T, F), float32, natural logarithm; T = 1 + (S - window) // step.

        Raises:
            ValueError: The waveform is not one-dimensional, shorter than one window, or not finite.
        """
        window = round(SAMPLE_RATE * self.settings.frame_length_ms / 1000)
        if waveform.ndim != 1:
            raise InputError(f"a waveform of shape {waveform.shape}, expected one channel (S,)")
        if len(waveform) < window:
            raise InputError(describe_short(len(waveform), window))
        wrong = np.flatnonzero(~np.isfinite(waveform))
        if len(wrong):
            raise InputError(
                f"{len(wrong):,} of {len(waveform):,} samples are NaN or infinity, the first is {wrong[0]}; write the "
                "recording again"
            )
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither = 0.0  # same input, same features
        options.frame_opts.samp_freq = float(SAMPLE_RATE)
        options.frame_opts.frame_length_ms = self.settings.frame_length_ms
        options.frame_opts.frame_shift_ms = self.settings.frame_shift_ms
        options.mel_opts.num_bins = self.settings.num_mel_bins
        fbank = kaldi_native_fbank.OnlineFbank(options)
        scaled = np.asarray(waveform, dtype=np.float32) * np.float32(INT16_SCALE)
        fbank.accept_waveform(float(SAMPLE_RATE), scaled)
        fbank.input_finished()
        return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])
