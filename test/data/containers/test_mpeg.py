"""Mp3 that is joined, tagged, without a length, or truncated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechllama.data.audio import read_audio, read_duration
from speechllama.data.containers.mpeg import mpeg_parts, read_header
from test.data.containers.makers import MP3, encode, make_noise, make_tone, strongest, without_length_frame, write

ONE, TWO = encode(make_tone(2.0), **MP3), encode(make_tone(3.0, 16000, 880), **MP3)
OTHER_RATE = encode(make_tone(3.0, 44100, 880), 44100, **MP3)
ID3 = b"ID3\x04\0\0\0\0\x02\0" + b"\xff\xfb\x90\x00" * 64  # 256 bytes that look like headers of frames
TAG = b"TAG" + b"x" * 125
APE = b"APETAGEX" + bytes([0xD0, 7, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]) + bytes(8)


def make_changing(rate: int = 16000) -> bytes:
    """Ten quiet seconds, then ten of noise: most of the bytes are in the second half."""
    samples = np.concatenate([make_tone(10, rate) / 100, make_noise(10, rate)])
    return encode(samples, rate, bitrate_mode="VARIABLE", compression_level=0.1, **MP3)


BETWEEN = {"nothing": b"", "ID3v2": ID3, "ID3v1": TAG, "both": TAG + ID3, "APE": APE, "zeros": bytes(3000)}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("second", [TWO, OTHER_RATE], ids=["same rate", "another rate"])
def test_all_of_joined_mp3s_are_read(tmp_path: Path, between: bytes, second: bytes) -> None:
    path = write(tmp_path / "x.mp3", ONE, between, second)
    assert read_duration(path) == pytest.approx(5.0, abs=1e-6)
    waveform = read_audio(path)
    assert len(waveform) == 80000
    assert abs(strongest(waveform[:32000]) - 440) < 5 and abs(strongest(waveform[32000:]) - 880) < 5
    part = read_audio(path, 1.5, 4.0)
    np.testing.assert_allclose(part[:8000], waveform[24000:32000], atol=2e-3)
    np.testing.assert_allclose(part[8200:], waveform[32200:64000], atol=2e-2)
    np.testing.assert_allclose(read_audio(path, 2.5, None)[200:], waveform[40200:], atol=2e-2)
    with pytest.raises(ValueError, match="no segment 4.0 to 6.0 s in a recording of 5.000 s"):
        read_audio(path, 4.0, 6.0)


@pytest.mark.parametrize("rates", [(16000, 16000), (16000, 44100), (8000, 48000)])
def test_joined_mp3s_without_a_length_are_read(tmp_path: Path, rates: tuple[int, int]) -> None:
    pieces = [without_length_frame(encode(make_noise(4.0, rate), rate, **MP3)) for rate in rates]
    durations = [read_duration(write(tmp_path / "one.mp3", piece)) for piece in pieces]
    path = write(tmp_path / "x.mp3", *pieces)
    assert read_duration(path) == pytest.approx(sum(durations), abs=0.04)  # one stream has one delay of a decoder
    assert len(read_audio(path)) == pytest.approx(16000 * read_duration(path), abs=2)


@pytest.mark.parametrize("tags", [(b"", b""), (ID3, b""), (b"", TAG), (ID3, TAG), (b"", APE + TAG), (b"\0" * 700, b"")])
def test_tags_at_either_end_are_no_samples(tmp_path: Path, tags: tuple[bytes, bytes]) -> None:
    path = write(tmp_path / "x.mp3", tags[0], ONE, tags[1])
    assert read_duration(path) == 2.0
    np.testing.assert_array_equal(read_audio(path), read_audio(write(tmp_path / "y.mp3", ONE)))


def test_a_length_that_no_frame_states_is_measured(tmp_path: Path) -> None:
    """Of the size and the first frame, libsndfile guesses 6.4 s of 20 s, and stops there."""
    path = write(tmp_path / "x.mp3", without_length_frame(make_changing()))
    waveform = read_audio(path)
    assert read_duration(path) == pytest.approx(20.05, abs=0.1)
    assert len(waveform) == round(16000 * read_duration(path))
    assert np.abs(waveform[-16000:]).max() > 0.2
    np.testing.assert_allclose(read_audio(path, 15.0, 16.0), waveform[240000:256000], atol=1e-4)
    joined = write(tmp_path / "y.mp3", path.read_bytes(), path.read_bytes())
    assert read_duration(joined) == pytest.approx(40.1, abs=0.2)
    assert len(read_audio(joined)) == round(16000 * read_duration(joined))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize("level", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_the_duration_of_any_mp3_is_that_of_its_samples(tmp_path: Path, rate: int, level: float, mode: str) -> None:
    mp3 = encode(make_noise(3.3, rate), rate, bitrate_mode=mode, compression_level=level, **MP3)
    for name, data in (("stated", mp3), ("not stated", without_length_frame(mp3))):
        path = write(tmp_path / f"{name}.mp3", data)
        assert len(read_audio(path)) == pytest.approx(16000 * read_duration(path), abs=1), name


def test_a_header_that_understates_is_not_believed(tmp_path: Path) -> None:
    at = ONE.index(b"Xing") + 8
    frames = int.from_bytes(ONE[at : at + 4], "big")
    path = write(tmp_path / "x.mp3", ONE[:at] + (frames // 2).to_bytes(4, "big") + ONE[at + 4 :])
    assert read_duration(path) == pytest.approx(frames * 576 / 16000, abs=0.05)
    assert len(read_audio(path)) == pytest.approx(16000 * read_duration(path), abs=1)


@pytest.mark.parametrize("data", [ONE, without_length_frame(TWO)], ids=["stated", "not stated"])
@pytest.mark.parametrize("after", [b"", TAG])
def test_a_truncated_mp3_is_refused_before_it_is_decoded(tmp_path: Path, data: bytes, after: bytes) -> None:
    path = write(tmp_path / "x.mp3", data[:-1001])
    for read in (read_duration, read_audio):
        with pytest.raises(ValueError, match=r"x.mp3: truncated.*get it again"):
            read(path)


def test_bytes_between_frames_are_skipped_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = without_length_frame(TWO)
    header = read_header(data[:4])
    assert header is not None
    path = write(tmp_path / "x.mp3", data[: 10 * header.size], b"\x13\x55" * 1500, data[10 * header.size :])
    assert read_duration(path) == pytest.approx(3.1, abs=0.15)
    assert len(read_audio(path)) == pytest.approx(16000 * read_duration(path), abs=2)
    assert "3,000 bytes between its frames are no audio" in caplog.text


def test_what_only_has_a_frame_here_and_there_is_no_mp3(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 200_000, np.uint8).tobytes()
    with pytest.raises(ValueError, match="x.mp3: no audio: only .* of 20.,... bytes are mp3 frames"):
        read_audio(write(tmp_path / "x.mp3", without_length_frame(ONE)[:2000], noise))


def test_headers_are_read_as_the_standard_says() -> None:
    # MPEG-1 layer 3, 128 kbit/s, 44.1 kHz, stereo: 144 * 128000 / 44100 = 417 bytes, one more if padded
    plain, padded = read_header(b"\xff\xfb\x90\x00"), read_header(b"\xff\xfb\x92\x00")
    assert plain is not None and padded is not None
    assert (plain.size, plain.samples, plain.kind) == (417, 1152, (3, 3, 44100, False))
    assert padded.size == 418
    # MPEG-2 layer 3, 64 kbit/s, 16 kHz, one channel: 72 * 64000 / 16000; MPEG-2.5: 8 kHz, 8 kbit/s
    assert read_header(b"\xff\xf3\x88\xc4").size == 288  # type: ignore[union-attr]
    assert read_header(b"\xff\xe3\x18\xc4").kind == (0, 3, 8000, True)  # type: ignore[union-attr]
    for wrong in (b"\xff\xfb\xf0\x00", b"\xff\xfb\x0c\x00", b"\xff\xf9\x90\x00", b"\xff\xeb\x90\x00", b"\xff\xfb\x90"):
        assert read_header(wrong) is None
    assert mpeg_parts(Path("x.mp3"), ONE)[0].samples is None  # its length frame is right


def test_many_bytes_of_anything_take_no_longer_than_few(tmp_path: Path) -> None:
    """Looking for the next tag at each byte that may begin a frame would take hours here."""
    junk = (b"\xff\xfb\x90\x00" + bytes(60)) * 200_000
    with pytest.raises(ValueError, match="x.mp3: no audio: only"):
        read_audio(write(tmp_path / "x.mp3", junk))
