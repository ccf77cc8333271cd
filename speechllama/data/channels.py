"""One channel of several: samples (S, channels) -> (S,)."""

from __future__ import annotations

import numpy as np

from speechllama.data.findings import Kind, Listener

SILENT = 1e-6  # power of a channel without sound, as a share of the loudest channel's
CANCELLED = 1e-2  # power of the mean of all channels, as a share of theirs; channels of independent noise give 1 / C


class Mixer:
    """Averages channels, leaves out those without sound, and takes the loudest if they cancel each other.

    What it decides is about all that it got so far, so that blocks of one recording are treated alike.

    Args:
        num_channels: How many there are.
        listener: What is told if they cancel.
    """

    def __init__(self, num_channels: int, listener: Listener) -> None:
        self._listener = listener
        self._energies, self._mixed = np.zeros(num_channels), 0.0

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """Mix a block (S, channels) to (S,), float32."""
        if samples.shape[1] == 1:
            return samples[:, 0]
        self._energies += np.square(samples).sum(axis=0, dtype=np.float64)
        sounding = self._energies > SILENT * self._energies.max()
        if not sounding.any():
            return np.ascontiguousarray(samples[:, 0])
        mono = (samples if sounding.all() else samples[:, sounding]).mean(axis=1, dtype=np.float32)
        self._mixed += float(np.square(mono).sum(dtype=np.float64))
        if self._mixed >= CANCELLED * self._energies[sounding].mean():
            return mono
        loudest = int(self._energies.argmax())
        self._listener.note(
            Kind.CANCELLED,
            f"its {samples.shape[1]} channels cancel each other (one is inverted?); channel {loudest + 1} is taken",
        )
        return np.ascontiguousarray(samples[:, loudest])
