"""Recordings in blocks: what comes out is what reading them whole gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.data.audio import read_audio, resample_blocks
from speechllama.data.blocks import WHOLE_SECONDS, Counted, read_blocks
from speechllama.data.decoding import BLOCK_SECONDS
from test.data.containers.makers import (
    MP3,
    OPUS,
    encode,
    encode_with_av,
    make_noise,
    with_flac_total,
    with_sizes,
    write,
)

SECONDS = WHOLE_SECONDS + 3.3  # not a whole number of blocks
FORMATS = {"wav": {}, "flac": {}, "mp3": {"format": "MP3"}, "opus": {"format": "OGG", "subtype": "OPUS"}}


def sweep(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """A tone that rises, so that no part is like another."""
    time = np.arange(round(seconds * rate)) / rate
    tone: np.ndarray = (0.4 * np.sin(2 * np.pi * (200 + 20 * time) * time)).astype(np.float32)
    return tone


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_the_blocks_of_a_long_recording_are_the_whole(tmp_path: Path, kind: str, rate: int) -> None:
    path = tmp_path / f"long.{kind}"
    tone = sweep(rate)
    soundfile.write(path, np.stack([tone, tone / 2], axis=1), rate, **FORMATS[kind])
    counted = Counted(read_blocks(path))
    blocks = list(counted)
    assert max(map(len, blocks)) <= 16000 * BLOCK_SECONDS * 1.1 and len(blocks) > 4
    whole, joined = read_audio(path), np.concatenate(blocks)
    assert joined.dtype == np.float32 and counted.seconds == len(joined) / 16000
    assert abs(len(joined) - len(whole)) <= 1
    size = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:size], whole[:size], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_blocks_of_any_size_are_resampled_as_one_waveform(rate: int) -> None:
    tone = sweep(rate, 2.0)
    joined = [
        np.concatenate(list(resample_blocks(np.split(tone, range(size, len(tone), size)), rate)))
        for size in (37, 1000, len(tone))
    ]
    for other in joined[:2]:
        np.testing.assert_allclose(other, joined[2], atol=1e-6)
    assert abs(len(joined[2]) - 32000) <= 1


def test_a_short_recording_is_one_block(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", sweep(8000, 2.0), 8000)
    (block,) = read_blocks(tmp_path / "x.wav")
    np.testing.assert_array_equal(block, read_audio(tmp_path / "x.wav"))


def test_faults_of_a_long_recording_name_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.wav: no such recording"):
        list(read_blocks(tmp_path / "no.wav"))
    soundfile.write(tmp_path / "x.flac", sweep(16000), 16000)
    data = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"half\.flac: (cannot be decoded from 1\d\.\d s on|truncated: its header)"):
        list(read_blocks(tmp_path / "half.flac"))
    tone = sweep(16000)
    tone[400_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", tone, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav: holds samples that are not finite"):
        list(read_blocks(tmp_path / "nan.wav"))


def test_blocks_of_odd_files_are_what_reading_them_whole_gives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone, noise = sweep(16000), make_noise(40.0)
    stereo = np.stack([noise, -noise], axis=1)
    files = {
        "joined.mp3": [encode(tone, **MP3), encode(noise, 44100, **MP3)],
        "chain.opus": [encode(tone, **OPUS), encode(noise, **OPUS)],
        "pipe.wav": [with_sizes(encode(tone), 0, 0)],
        "unknown.flac": [with_flac_total(encode(tone, format="FLAC"), 0)],
        "cancels.wav": [encode(stereo)],
        "int16.wav": [encode(tone * 32768, format="WAV", subtype="FLOAT")],
    }
    for name, pieces in files.items():
        path = write(tmp_path / name, *pieces)
        whole, joined = read_audio(path), np.concatenate(list(read_blocks(path)))
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == len(set(said)), name  # once, although it was read twice
        assert abs(len(joined) - len(whole)) <= len(pieces), name
        size = min(len(joined), len(whole))
        near = np.isclose(joined[:size], whole[:size], atol=2e-3)
        assert near.mean() > 0.999, name  # mp3 and Opus begin anew at the edge of a block
    assert sum("cancel each other" in message for message in said) == 1


def test_what_is_unusual_about_a_long_recording_is_said_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone = sweep(16000, 40.0)
    files = {
        "late.flac": (np.concatenate([np.zeros(16 * 16000, np.float32), tone]), "begins with 16.0 s of silence"),
        "clipped.flac": (np.clip(20 * tone, -1.0, 1.0), "of its samples are at full scale"),
        "silent.flac": (0 * tone, "no sound in 40.00 s"),
        "offset.flac": (tone / 2 + 0.3, "not centred on zero, but on 0.30"),
    }
    for name, (waveform, _) in files.items():
        soundfile.write(tmp_path / name, waveform, 16000)
        assert sum(map(len, read_blocks(tmp_path / name))) == len(waveform), "said, not fatal"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(files)
    for message, (name, (_, finding)) in zip(said, files.items(), strict=True):
        assert name in message and finding in message


def test_memory_does_not_grow_with_a_file_of_ffmpegs(tmp_path: Path) -> None:
    path = encode_with_av(tmp_path / "x.m4a", "aac", sweep(48000), 48000)
    blocks = list(read_blocks(path))
    assert max(map(len, blocks)) <= 16000 * BLOCK_SECONDS * 1.1 and len(blocks) > 4
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path))
