"""FLAC of unknown length, and headers that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.data.audio import read_audio, read_duration
from speechllama.data.containers.flac import flac_parts
from test.data.containers.makers import encode, make_noise, make_tone, with_flac_total, write

FLAC = encode(make_noise(1.5), format="FLAC")
ID3 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)


@pytest.mark.parametrize("total", [0, 4096, 20000])
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (ID3, b""), (b"", b"TAG" + bytes(125))])
def test_a_length_that_the_header_lacks_or_understates_is_that_of_the_frames(
    tmp_path: Path, total: int, before: bytes, after: bytes
) -> None:
    path = write(tmp_path / "x.flac", before, with_flac_total(FLAC, total), after)
    assert read_duration(path) == 1.5
    whole = read_audio(write(tmp_path / "right.flac", FLAC))
    np.testing.assert_array_equal(read_audio(path), whole)
    np.testing.assert_array_equal(read_audio(path, 0.5, 1.0), whole[8000:16000])


@pytest.mark.parametrize("samples", [100, 4095, 4096, 4097, 24000, 123457])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_every_length_is_measured(tmp_path: Path, samples: int, rate: int) -> None:
    noise = np.resize(make_noise(1.0), (samples, 2))
    flac = encode(noise, rate, format="FLAC")
    assert read_duration(write(tmp_path / "x.flac", flac)) == pytest.approx(samples / rate)
    assert read_duration(write(tmp_path / "y.flac", with_flac_total(flac, 0))) == pytest.approx(samples / rate)


def test_silence_and_sines_are_measured_too(tmp_path: Path) -> None:
    for name, samples in (("silence", np.zeros(30000, np.float32)), ("sine", make_tone(1.875))):
        flac = encode(samples, format="FLAC")
        for total in (30000, 0):
            path = write(tmp_path / f"{name}{total}.flac", with_flac_total(flac, total))
            assert read_duration(path) == 1.875 and len(read_audio(path)) == 30000


def test_a_recorder_that_was_killed_leaves_its_whole_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "x.flac", with_flac_total(FLAC, 0)[:-1000])
    assert read_duration(path) == 5 * 4096 / 16000  # 24,000 samples in blocks of 4,096; the sixth is cut
    assert len(read_audio(path)) == 5 * 4096


@pytest.mark.parametrize(("total", "cut"), [(24000, 15000), (100000, 0), (0, len(FLAC) - 60)])
def test_a_truncated_flac_is_refused_before_it_is_decoded(tmp_path: Path, total: int, cut: int) -> None:
    path = write(tmp_path / "x.flac", with_flac_total(FLAC, total)[: len(FLAC) - cut])
    for read in (read_duration, read_audio):
        with pytest.raises(ValueError, match=r"x.flac: truncated.*get it again"):
            read(path)


def test_a_flac_whose_last_frame_is_cut_is_refused_when_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x.flac: cannot be decoded"):
        read_audio(write(tmp_path / "x.flac", FLAC[:-1000]))


@pytest.mark.parametrize("second", [1.5, 0.7])
def test_all_of_joined_flacs_are_read(tmp_path: Path, second: float) -> None:
    other = encode(make_noise(second, seed=2), format="FLAC")
    path = write(tmp_path / "x.flac", FLAC, other)
    assert read_duration(path) == pytest.approx(1.5 + second)
    np.testing.assert_allclose(
        read_audio(path), np.concatenate([make_noise(1.5), make_noise(second, seed=2)]), atol=1e-4
    )


def test_only_the_tail_of_a_sound_file_is_read(tmp_path: Path) -> None:
    class Counting(bytes):
        seen = 0

        def __getitem__(self, place: Any) -> Any:
            found = super().__getitem__(place)
            Counting.seen += len(found) if isinstance(found, bytes) else 1
            return found

    (part,) = flac_parts(tmp_path / "x.flac", Counting(encode(make_noise(60.0), format="FLAC")), 0)
    assert part.patches == () and Counting.seen < 2000
