"""Rooms and noise: they decay, sound and are as loud as their numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from speechllama.corpora.synthetic.acoustics import (
    Room,
    Surroundings,
    draw_noise,
    filter_speech,
    impulse_response,
    surround,
)

RATE = 22050


def speech(num_samples: int = RATE) -> np.ndarray:
    """A waveform with pauses, as speech has."""
    random = np.random.default_rng(5)
    wave = random.standard_normal(num_samples) * (np.arange(num_samples) % 4000 < 2500)
    return (0.1 * wave).astype(np.float32)


def level_db(power: np.ndarray | float) -> np.ndarray:
    return 10.0 * np.log10(power)


@pytest.mark.parametrize("t60", [0.2, 0.6])
def test_the_tail_decays_by_60_decibels_in_t60(t60: float) -> None:
    tail = impulse_response(Room(3, t60, 5.0), RATE, 0.0)[1:]
    energy = level_db(np.cumsum(tail[::-1] ** 2)[::-1] + 1e-12)  # Schroeder's backward integration
    start, end = (int(np.argmax(energy <= energy[0] - fall)) for fall in (5.0, 25.0))
    assert 3.0 * (end - start) / RATE == pytest.approx(t60, rel=0.1)


@pytest.mark.parametrize("direct_db", [0.0, 10.0])
def test_the_direct_sound_is_as_much_louder_as_asked(direct_db: float) -> None:
    response = impulse_response(Room(3, 0.4, 5.0), RATE, direct_db)
    assert response[0] == 1.0 and not response[1 : round(0.005 * RATE)].any()
    assert -level_db(np.sum(response[1:] ** 2)) == pytest.approx(direct_db)


def test_filtering_is_convolution_cut_to_the_length_of_the_speech() -> None:
    wave, response = np.random.default_rng(1).standard_normal((2, 300))
    assert filter_speech(wave, response[:77]) == pytest.approx(np.convolve(wave, response[:77])[:300])


@pytest.mark.parametrize("slope_db", [0.0, -3.0, -6.0])
def test_noise_has_the_slope_and_the_distance_to_the_speech_that_are_asked_for(slope_db: float) -> None:
    wave = speech()
    noise = surround(wave, RATE, Surroundings(snr_db=12.0, slope_db=slope_db, noise_seed=4)) - wave
    assert level_db(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(12.0, abs=0.01)
    power = np.abs(np.fft.rfft(draw_noise(20 * RATE, RATE, slope_db, 4))) ** 2
    hertz = np.fft.rfftfreq(20 * RATE, 1 / RATE)
    bands = [level_db(power[(hertz > low) & (hertz < 1.1 * low)].mean()) for low in (250.0, 500.0, 4000.0)]
    assert (bands[2] - bands[0]) / 4 == pytest.approx(slope_db, abs=0.3)


def test_without_room_and_noise_speech_stays_as_it_was() -> None:
    assert np.array_equal(surround(speech(), RATE, Surroundings()), speech())


def test_equal_surroundings_sound_alike_and_other_seeds_otherwise() -> None:
    made = [
        surround(speech(), RATE, Surroundings(Room(room, 0.3, 4.0), 3.0, 10.0, -3.0, noise))
        for room, noise in ((1, 1), (1, 1), (2, 1), (1, 2))
    ]
    assert made[0].dtype == np.float32 and len(made[0]) == RATE
    assert np.array_equal(made[0], made[1])
    assert not np.allclose(made[0], made[2]) and not np.allclose(made[0], made[3])
