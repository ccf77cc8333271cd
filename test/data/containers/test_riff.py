"""WAV as pipes, killed recorders and large files leave it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.data.audio import read_audio, read_duration
from test.data.containers.makers import encode, make_noise, make_tone, put, strongest, with_sizes, write

WAV = encode(make_tone(1.0))  # 44 bytes of header and 32,000 of samples


def assert_whole(path: Path, seconds: float = 1.0) -> None:
    assert read_duration(path) == pytest.approx(seconds, abs=1e-9)
    waveform = read_audio(path)
    assert len(waveform) == round(seconds * 16000)
    assert abs(strongest(waveform) - 440) < 5
    if seconds == 1.0:
        np.testing.assert_allclose(read_audio(path, 0.25, 0.5), waveform[4000:8000], atol=1e-6)


SIZES = {
    "SoX to a pipe": (0x7FFFF024, 0x7FFFF000),
    "a recorder that was killed": (0x80000024, 0x80000000),
    "sizes left at 0": (0, 0),
    "only the header counted": (36, 0),
    "FFmpeg to a pipe": (0xFFFFFFFF, 0xFFFFFFFF),
    "largest sizes": (0xFFFFFFFF, 0xFFFFFFFF - 36),
    "largest size of the whole": (0xFFFFFFFF, 32000),
    "only the size of the samples missing": (36 + 32000, 0xFFFFFFFF),
}


@pytest.mark.parametrize("writer", SIZES)
def test_a_wav_whose_writer_did_not_know_its_size_is_read_to_the_end(tmp_path: Path, writer: str) -> None:
    assert_whole(write(tmp_path / "x.wav", with_sizes(WAV, *SIZES[writer])))


@pytest.mark.parametrize(("channels", "left"), [(1, 1), (2, 1), (2, 2), (2, 3)])
def test_samples_that_end_within_a_frame_lose_that_frame_only(tmp_path: Path, channels: int, left: int) -> None:
    tone = np.stack([make_tone(1.0)] * channels, axis=1)
    wav = with_sizes(encode(tone), 0x7FFFF024, 0x7FFFF000)
    path = write(tmp_path / "x.wav", wav[: len(wav) - 2 * channels + left])
    assert read_duration(path) == pytest.approx(15999 / 16000, abs=1e-9)
    assert len(read_audio(path)) == 15999


@pytest.mark.parametrize("size", [32000, 0xFFFFFFFF, 0])
def test_chunks_before_and_after_the_samples_are_no_samples(tmp_path: Path, size: int) -> None:
    note = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.3.100\0\0"
    wav = with_sizes(WAV[:36] + note + WAV[36:], 0 if size == 0 else 0xFFFFFFFF, size)
    assert_whole(write(tmp_path / "x.wav", wav, *([note] if size == 32000 else [])))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "ALAW", "ULAW"])
def test_an_odd_number_of_bytes_is_padded_or_not(tmp_path: Path, subtype: str) -> None:
    wav = encode(make_tone(1.0)[:15999], format="WAV", subtype=subtype)
    note = b"note" + struct.pack("<I", 4) + b"text"
    has_pad = wav[-1:] == b"\0" and (wav.index(b"data") + 8 + 15999 * (3 if subtype == "PCM_24" else 1)) < len(wav)
    for content in (wav, wav[:-1]) if has_pad else (wav,):
        assert len(read_audio(write(tmp_path / "x.wav", content))) == 15999
        assert len(read_audio(write(tmp_path / "y.wav", content, note))) == 15999


def make_rf64() -> bytes:
    return encode(make_tone(1.0), format="RF64")


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize("sizes", [None, b"\x00" * 24, b"\xff" * 24], ids=["right", "zero", "largest"])
def test_a_wav_above_4_gib_is_read_whatever_it_is_called(tmp_path: Path, name: bytes, sizes: bytes | None) -> None:
    wav = make_rf64()
    assert wav[12:16] == b"ds64"
    assert_whole(write(tmp_path / "x.wav", put(wav, (0, name), *([(20, sizes)] if sizes else []))))


def test_a_wav_of_several_channels_says_more_in_its_header(tmp_path: Path) -> None:
    wav = encode(np.stack([make_tone(1.0)] * 3, axis=1), format="WAVEX")
    assert_whole(write(tmp_path / "x.wav", wav))
    assert_whole(write(tmp_path / "y.wav", with_sizes(wav, 0x7FFFF024, 0x7FFFF000)))


def test_the_other_byte_order_is_read_to_the_end_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", make_tone(1.0), 16000, format="WAV", endian="BIG")
    wav = (tmp_path / "x.wav").read_bytes()
    assert wav[:4] == b"RIFX"
    at = wav.index(b"data") + 4
    assert_whole(tmp_path / "x.wav")
    assert_whole(write(tmp_path / "y.wav", put(wav, (4, b"\0\0\0\0"), (at, b"\0\0\0\0"))))


@pytest.mark.parametrize("sizes", [None, (0, 0), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_all_of_joined_wavs_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sizes: tuple[int, int] | None
) -> None:
    first, second = WAV, encode(make_tone(2.0, 8000), 8000)
    path = write(tmp_path / "x.wav", with_sizes(first, *sizes) if sizes else first, second)
    assert_whole(path, 3.0)
    assert "2 recordings, one after the other in one file; all are read" in caplog.text
    part = read_audio(path, 0.5, 2.0)
    assert len(part) == 24000
    np.testing.assert_allclose(part[:8000], read_audio(path)[8000:16000], atol=1e-6)


def test_a_truncated_wav_is_refused_with_what_it_promised(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", WAV[:-3])
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=r"x.wav: truncated: its header promises 32,000 bytes .*, found 31,997"):
            read(path)


@pytest.mark.parametrize("riff", [36 + 16000, 36 + 32000])
def test_a_header_that_counts_half_of_the_samples_is_refused(tmp_path: Path, riff: int) -> None:
    path = write(tmp_path / "x.wav", with_sizes(encode(make_noise(1.0)), riff, 16000))
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match="x.wav: 16,000 bytes follow after the samples that its header counts"):
            read(path)


@pytest.mark.parametrize("rest", [b"TAG" + bytes(125), bytes(3000), b"abc"])
def test_tags_and_zeros_at_the_end_are_no_samples(tmp_path: Path, rest: bytes) -> None:
    assert_whole(write(tmp_path / "x.wav", WAV, rest))


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    empty = encode(np.zeros(0, np.float32))
    for content in (empty, with_sizes(WAV[:44], 0, 0), WAV[:36] + b"LIST" + bytes(4)):
        path = write(tmp_path / "x.wav", content)
        for read in (read_audio, read_duration):
            with pytest.raises(ValueError, match=r"x.wav: (holds no sample|no segment|cannot be decoded)"):
                read(path)
