"""Opus and Vorbis: chains, and files that end early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.data.audio import read_audio, read_duration
from test.data.containers.makers import OPUS, VORBIS, encode, encode_with_av, make_noise, make_tone, strongest, write

KINDS = {"opus": OPUS, "vorbis": VORBIS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_all_of_a_chain_is_read(tmp_path: Path, kind: str, rate: int, caplog: pytest.LogCaptureFixture) -> None:
    one, two = encode(make_tone(2.0), **KINDS[kind]), encode(make_tone(3.0, rate, 880), rate, **KINDS[kind])
    path = write(tmp_path / "x.ogg", one, two)
    assert read_duration(path) == 5.0
    waveform = read_audio(path)
    assert len(waveform) == 80000
    assert "2 recordings, one after the other" in caplog.text
    assert abs(strongest(waveform[:32000]) - 440) < 5 and abs(strongest(waveform[32000:]) - 880) < 5
    part = read_audio(path, 1.5, 4.0)
    np.testing.assert_allclose(part[:7800], waveform[24000:31800], atol=2e-2)
    np.testing.assert_allclose(part[8200:-200], waveform[32200:63800], atol=2e-2)


def test_a_chain_of_two_codecs_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.ogg", encode(make_tone(2.0), **VORBIS), encode(make_tone(3.0), **OPUS), b"TAG" + bytes(125)
    )
    assert read_duration(path) == 5.0 and len(read_audio(path)) == 80000


def test_the_same_file_twice_is_two_recordings(tmp_path: Path) -> None:
    one = encode(make_tone(2.0), **OPUS)  # the same serial number as well
    assert read_duration(write(tmp_path / "x.opus", one, one)) == 4.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_is_cut_means_truncated(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "x.ogg", encode(make_noise(6.0), **KINDS[kind])[:-100])
    for read in (read_duration, read_audio):
        with pytest.raises(ValueError, match="x.ogg: truncated: its last page is cut at byte .*; get it again"):
            read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_without_its_end_is_read_and_said(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = encode(make_noise(9.0), **KINDS[kind])
    path = write(tmp_path / "x.ogg", data[: data.rindex(b"OggS")])
    seconds = read_duration(path)
    assert 1.0 < seconds < 9.0
    assert len(read_audio(path)) == pytest.approx(16000 * seconds, abs=1)
    assert "it ends without its end mark" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [8000, 24000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_duration_is_that_of_the_samples(tmp_path: Path, kind: str, rate: int, channels: int) -> None:
    settings: dict[str, Any] = KINDS[kind]
    path = write(tmp_path / "x.ogg", encode(np.stack([make_noise(2.345, rate)] * channels, axis=1), rate, **settings))
    assert read_duration(path) == pytest.approx(2.345, abs=1e-4)
    assert len(read_audio(path)) == pytest.approx(16000 * 2.345, abs=1)


def test_other_codecs_in_ogg_are_read_only_if_whole_and_alone(tmp_path: Path) -> None:
    path = encode_with_av(tmp_path / "x.oga", "flac", make_noise(3.0), 16000)
    data = path.read_bytes()
    assert read_duration(path) == 3.0
    with pytest.raises(ValueError, match="x.oga: truncated: its last page is cut"):
        read_audio(write(path, data[:-100]))
    with pytest.raises(ValueError, match="x.oga: 2 recordings in one Ogg file, neither Opus nor Vorbis"):
        read_audio(write(path, data, data))
