"""Rooms and noise: dry speech (S,) -> the same speech in a room, with noise (S,).

A room is a synthetic impulse response: the direct sound, a pause, then noise that decays exponentially, 60 dB in T60.
Noise is Gaussian with a slope of its spectrum: 0 dB an octave is white, -3 pink, -6 brown.
Source: ours; the decay is that of statistical room acoustics (Schroeder); no room was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOWEST_HERTZ = 40.0  # below it, a falling spectrum stays level: else inaudible rumble would be all of the noise


@dataclass(frozen=True)
class Room:
    """A room, by the tail of its impulse response.

    Attributes:
        seed: Of the tail's noise; another seed is another room.
        t60: Seconds in which the tail falls by 60 dB.
        delay_ms: Milliseconds between the direct sound and the tail.
    """

    seed: int
    t60: float
    delay_ms: float


@dataclass(frozen=True)
class Surroundings:
    """All that happens to speech between mouth and microphone.

    Attributes:
        room: The room; None is the open air.
        direct_db: Energy of the direct sound over that of the tail in decibels: high is a near microphone.
        snr_db: Mean power of the speech over that of the noise in decibels; None is no noise.
        slope_db: Slope of the noise's spectrum in decibels an octave, 0 or below.
        noise_seed: Of the noise.
    """

    room: Room | None = None
    direct_db: float = 0.0
    snr_db: float | None = None
    slope_db: float = 0.0
    noise_seed: int = 0


def surround(waveform: np.ndarray, rate: int, surroundings: Surroundings) -> np.ndarray:
    """Put speech into its surroundings; equal arguments give equal samples.

    Args:
        waveform: Dry speech (S,) float32.
        rate: Sample rate in hertz.
        surroundings: Room and noise.

    Returns:
        Speech (S,) float32; its peak may be above 1. What would sound on after the end is cut.
    """
    speech = waveform.astype(np.float64)
    if surroundings.room is not None:
        speech = filter_speech(speech, impulse_response(surroundings.room, rate, surroundings.direct_db))
    if surroundings.snr_db is not None and len(speech):
        noise = draw_noise(len(speech), rate, surroundings.slope_db, surroundings.noise_seed)
        power = float(np.mean(speech**2))
        speech = speech + noise * np.sqrt(power * 10.0 ** (-surroundings.snr_db / 10.0))
    return speech.astype(np.float32)


def impulse_response(room: Room, rate: int, direct_db: float) -> np.ndarray:
    """Direct sound of 1 at sample 0, then the tail, T60 long after its delay."""
    delay = max(1, round(rate * room.delay_ms / 1000.0))
    seconds = np.arange(max(1, round(rate * room.t60))) / rate
    tail = np.random.default_rng(room.seed).standard_normal(len(seconds)) * 10.0 ** (-3.0 * seconds / room.t60)
    tail *= np.sqrt(10.0 ** (-direct_db / 10.0) / np.sum(tail**2))
    response = np.zeros(delay + len(tail))
    response[0] = 1.0
    response[delay:] = tail
    return response


def filter_speech(speech: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve and keep the length of the speech."""
    size = 1 << (len(speech) + len(response) - 1).bit_length()
    filtered: np.ndarray = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(response, size), size)
    return filtered[: len(speech)]


def draw_noise(num_samples: int, rate: int, slope_db: float, seed: int) -> np.ndarray:
    """Gaussian noise (S,) of mean power 1 whose spectrum has a slope in decibels an octave."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    if slope_db:
        spectrum = np.fft.rfft(noise)
        hertz = np.maximum(np.fft.rfftfreq(num_samples, 1.0 / rate), LOWEST_HERTZ)
        octaves = np.log2(hertz / LOWEST_HERTZ)
        noise = np.fft.irfft(spectrum * 10.0 ** (slope_db * octaves / 20.0), num_samples)
    return noise / np.sqrt(np.mean(noise**2))
