"""Recordings of all kinds, whole and broken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.data.audio import load_recording, read_audio, read_duration, to_unit_scale
from speechllama.data.findings import Kind
from test.data.containers.makers import make_noise, make_tone, strongest

FORMATS = {
    "wav": {},
    "flac": {},
    "mp3": {"format": "MP3"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


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


def write_float(path: Path, *channels: np.ndarray, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, np.stack(channels, axis=1), 16000, subtype=subtype)
    return path


def test_channels_are_averaged(tmp_path: Path) -> None:
    one, two = make_tone(0.5), make_noise(0.5)
    np.testing.assert_allclose(read_audio(write_float(tmp_path / "x.wav", one, two)), (one + two) / 2, atol=1e-7)


@pytest.mark.parametrize("floor", [0.0, 1e-5])
def test_channels_without_sound_are_left_out(tmp_path: Path, floor: float) -> None:
    tone, empty = make_tone(0.5), floor * make_noise(0.5)
    recording = load_recording(write_float(tmp_path / "x.wav", empty, tone, empty, empty))
    np.testing.assert_allclose(recording.waveform, tone, atol=1e-7)
    assert recording.findings == ()


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_of_channels_that_cancel_one_is_taken_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    tone = make_noise(1.0)
    path = tmp_path / f"x.{kind}"
    soundfile.write(path, np.stack([-0.9 * tone, tone], axis=1), 16000, **FORMATS[kind])
    np.testing.assert_allclose(read_audio(path).std(), 0.1, rtol=0.1)
    read_audio(path, 0.25, 0.5)
    message = f"{path}: its 2 channels cancel each other (one is inverted?); channel 2 is taken"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_independent_channels_do_not_cancel(tmp_path: Path) -> None:
    noises = [make_noise(0.5, seed=seed) for seed in range(8)]
    recording = load_recording(write_float(tmp_path / "x.wav", *noises))
    np.testing.assert_allclose(recording.waveform, np.mean(noises, axis=0), atol=1e-6)
    assert recording.findings == ()


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_samples_at_the_scale_of_16_bits_are_rescaled_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, subtype: str
) -> None:
    quiet, loud = make_noise(0.5) / 10000, make_tone(0.5)
    path = write_float(tmp_path / "x.wav", np.concatenate([quiet, loud]) * 32767, subtype=subtype)
    waveform = read_audio(path)
    np.testing.assert_allclose(waveform, np.concatenate([quiet, loud]) * (32767 / 32768), atol=1e-6)
    assert "x.wav: float samples up to 13107: taken as those of 16 bits and divided by 32768" in caplog.text
    # the quiet half by itself has no sample above 1
    np.testing.assert_allclose(read_audio(path, 0.1, 0.4), waveform[1600:6400], atol=1e-9)


def test_a_mix_above_full_scale_is_left_as_it_is(tmp_path: Path) -> None:
    path = write_float(tmp_path / "x.wav", 5 * make_tone(0.5))
    assert np.abs(read_audio(path)).max() == pytest.approx(2.0, abs=0.01)


def test_float_samples_of_any_other_scale_are_refused(tmp_path: Path) -> None:
    path = write_float(tmp_path / "x.wav", 2e9 * make_tone(0.5))
    with pytest.raises(
        ValueError, match=r"x.wav: float samples up to 8e\+08, expected within \+-1, or \+-32768; divide"
    ):
        read_audio(path)


FINDINGS = {
    "silence": (np.zeros(16000), Kind.SILENT, "no sound in 1.00 s"),
    "noise of one step of 16 bits": (np.tile([1, 0, -1, 0], 4000) / 32768, Kind.SILENT, "no sound in 1.00 s"),
    "late": (np.concatenate([np.zeros(64000), make_tone(0.5)]), Kind.LATE, "begins with 4.0 s of silence"),
    "clipped": (np.clip(5 * make_noise(1.0), -1, 1), Kind.CLIPPED, r"clipped: 4\..% of its samples are at full scale"),
    "offset": (make_noise(1.0) + 0.2, Kind.OFFSET, "not centred on zero, but on 0.20 of full scale"),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_unusual_is_said_once_and_read(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    samples, kind, told = FINDINGS[name]
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 16000)
    recording = load_recording(path)
    assert [finding.kind for finding in recording.findings] == [kind] and len(recording.waveform) == len(samples)
    for _ in range(3):
        read_audio(path)
    (record,) = caplog.records
    assert re.search(f"x.wav: .*{told}", record.getMessage())


def test_a_usual_recording_has_nothing_to_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peaks = make_noise(5.0)
    peaks[1000::8000] = 1.0  # single samples at full scale are none that clip
    for samples in (make_noise(1.0), peaks, np.concatenate([np.zeros(32000), make_tone(1.0)]), make_noise(1.0) + 0.01):
        soundfile.write(tmp_path / "x.wav", samples, 16000)
        read_audio(tmp_path / "x.wav")
    assert not caplog.records


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
    [(b"", "is empty"), (b"\0\x01no audio" * 300, "truncated or no audio"), (b"\xff", "no audio")],
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


def test_real_clips_have_the_duration_of_their_samples(shared_data: Path) -> None:
    clips = sorted(shared_data.glob("common_voice_sample/*/*/clips/*.mp3"))[::70]
    for kind in ("flac", "opus"):
        clips += sorted(shared_data.glob(f"librispeech_sample/LibriSpeech/*/*/*/*.{kind}"))[::50]
    assert len(clips) >= 30
    for clip in clips:
        assert abs(len(read_audio(clip)) / 16000 - read_duration(clip)) < 1e-4, clip
