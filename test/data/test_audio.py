"""Recordings of all kinds, whole and broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.data.audio import read_audio, read_duration, to_unit_scale

FORMATS = {
    "wav": {},
    "flac": {},
    "mp3": {"format": "MP3"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


def make_tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def strongest(waveform: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(waveform))) * 16000 / len(waveform))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rate", [8000, 48000])
def test_every_format_and_rate_becomes_16_khz_mono(tmp_path: Path, kind: str, rate: int) -> None:
    path = tmp_path / f"tone.{kind}"
    tone = make_tone(1.0, rate)
    soundfile.write(path, np.stack([tone, tone], axis=1), rate, **FORMATS[kind])
    waveform = read_audio(path)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert abs(len(waveform) - 16000) < 1600  # mp3 keeps its encoder's padding
    assert abs(strongest(waveform) - 440) < 5
    assert 0.3 < np.abs(waveform[4000:12000]).max() < 0.5
    assert abs(read_duration(path) - 1.0) < 0.25


def test_channels_are_averaged(tmp_path: Path) -> None:
    tone = make_tone(0.5, 16000)
    soundfile.write(tmp_path / "x.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "x.wav"), tone / 2, atol=1e-7)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_segment_is_the_slice_of_the_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"tone.{kind}"
    sweep = np.concatenate([make_tone(0.5, 16000, 300 + 200 * step) for step in range(6)])
    soundfile.write(path, sweep, 16000, **FORMATS[kind])
    whole = read_audio(path)
    part = read_audio(path, 1.25, 2.0)
    if kind == "opus":  # its samples are at 48 kHz, resampling differs at the cut
        np.testing.assert_allclose(part[200:-200], whole[20200:31800], atol=2e-2)
    else:
        np.testing.assert_allclose(part, whole[20000:32000], atol=1e-4)


@pytest.mark.parametrize(("start", "end"), [(-0.1, 0.5), (0.5, 0.5), (0.8, 0.2), (0.5, 3.0), (2.0, None)])
def test_a_segment_outside_the_recording_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    soundfile.write(tmp_path / "x.wav", make_tone(1.0, 16000), 16000)
    with pytest.raises(ValueError, match=f"x.wav: no segment {start} to {end} s in a recording of 1.000 s"):
        read_audio(tmp_path / "x.wav", start, end)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    for read in (read_audio, read_duration):
        with pytest.raises(FileNotFoundError, match="none.mp3: no such recording"):
            read(tmp_path / "none.mp3")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no audio " * 300, "truncated or no audio"), (b"\xff", "no audio")],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.mp3").write_bytes(content)
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=f"x.mp3.*{message}"):
            read(tmp_path / "x.mp3")


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    noise = np.random.default_rng(1).normal(0, 0.1, 48000).astype(np.float32)
    soundfile.write(path, noise, 16000, **FORMATS[kind])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"x.{kind}.*truncated"):
        read_audio(path)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.full(800, np.nan, np.float32), 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_whole_numbers_are_scaled_by_what_their_dtype_holds(dtype: str) -> None:
    limits = np.iinfo(dtype)
    scaled = to_unit_scale(np.array([limits.min, 0, limits.max], dtype))
    np.testing.assert_allclose(scaled, [-1.0, 0.0, limits.max / -limits.min])
    as_float = np.array([0.25, -1.0], np.float32)
    assert to_unit_scale(as_float) is as_float


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.array([0.0, np.nan]), "not finite numbers"),
        (np.array([0.0, np.inf], np.float32), "not finite numbers"),
        (np.zeros((2, 5)), r"one channel \(samples,\), found the shape \(2, 5\)"),
        (np.zeros(5, np.uint8), "float within .* or signed integer, found uint8"),
        (np.zeros(5, complex), "float within .* or signed integer, found complex128"),
    ],
)
def test_what_is_no_waveform_is_refused(waveform: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_unit_scale(waveform)


def test_real_clips_have_the_duration_of_their_header(shared_data: Path) -> None:
    clips = sorted(shared_data.glob("common_voice_sample/*/*/clips/*.mp3"))[::70]
    assert len(clips) >= 14
    for clip in clips:
        # Without a length header mp3 durations are estimates, a few frames long.
        assert abs(len(read_audio(clip)) / 16000 - read_duration(clip)) < 0.15
