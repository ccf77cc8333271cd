"""Files that only FFmpeg reads, with PyAV and without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from speechllama.data.audio import load_recording, read_audio, read_duration
from test.data.containers.makers import encode_with_av, make_tone, strongest, write

KINDS = {  # name of the file -> encoder, what it is called
    "x.m4a": ("aac", "an MPEG-4 file"),
    "x.mp4": ("aac", "an MPEG-4 file"),
    "x.mov": ("alac", "an MPEG-4 file"),
    "x.aac": ("aac", "an AAC file"),
    "x.webm": ("libopus", "a WebM or Matroska file"),
    "x.mka": ("flac", "a WebM or Matroska file"),
    "x.wma": ("wmav2", "a Windows Media file"),
    "x.ac3": ("ac3", "an AC-3 file"),
    "x.oga": ("flac", "an Ogg file of another codec"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_other_containers_are_read_through_ffmpeg(tmp_path: Path, name: str, rate: int) -> None:
    if name == "x.ac3" and rate == 16000:
        pytest.skip("AC-3 has no such rate")
    path = encode_with_av(tmp_path / name, KINDS[name][0], make_tone(2.0, rate), rate)
    waveform = read_audio(path)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert abs(strongest(waveform) - 440) < 5
    assert waveform[8000:24000].std() == pytest.approx(0.4 / 2**0.5, rel=0.1)
    assert read_duration(path) == pytest.approx(len(waveform) / 16000, abs=1e-4)
    assert read_duration(path) == pytest.approx(2.0, abs=0.2)  # codecs fill their last frame
    np.testing.assert_array_equal(read_audio(path, 0.5, 1.25), waveform[8000:20000])
    with pytest.raises(ValueError, match="no segment 1.0 to 3.0 s in a recording of"):
        read_audio(path, 1.0, 3.0)


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_with_av(tmp_path / "x.m4a", "aac", make_tone(1.0), 16000).rename(tmp_path / "http:talk.m4a")
    monkeypatch.chdir(tmp_path)
    assert read_duration("http:talk.m4a") == pytest.approx(1.0, abs=0.2)


def test_names_in_a_damaged_header_are_no_matter(tmp_path: Path) -> None:
    path = encode_with_av(tmp_path / "x.m4a", "aac", make_tone(1.0), 16000)
    data = path.read_bytes()
    assert b"SoundHandler" in data
    assert read_duration(write(path, data.replace(b"SoundHandler", b"So\xb5ndHandler"))) > 0.9


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    path = encode_with_av(tmp_path / "x.mp4", "aac", make_tone(2.0, 48000), 48000, video=True)
    assert abs(strongest(read_audio(path)) - 440) < 5


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=r"x.mp4: has no track of sound \(an MPEG-4 file"):
            read(tmp_path / "x.mp4")


@pytest.mark.parametrize("name", ["x.m4a", "x.webm", "x.wma"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    path = encode_with_av(tmp_path / name, KINDS[name][0], make_tone(20.0, 48000), 48000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=rf"{name}: .*truncated"):
            read(path)


@pytest.mark.parametrize("name", KINDS)
def test_without_pyav_the_kind_is_named_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = encode_with_av(tmp_path / name, KINDS[name][0], make_tone(1.0, 48000), 48000)
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (read_audio, read_duration):
        with pytest.raises(ValueError, match=rf"{name}: {KINDS[name][1]}.*: pip install -e '\.\[av\]' to read it"):
            read(path)


def test_without_pyav_an_unknown_kind_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"x.wav: a format that libsndfile does not recognise; .*pip install"):
        read_audio(write(tmp_path / "x.wav", bytes(range(256)) * 10))


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    """FFmpeg would open what it names: a file of the server's, or an address."""
    secret = encode_with_av(tmp_path / "secret.m4a", "aac", make_tone(1.0, 48000), 48000)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    for name, content in (
        ("x.m3u8", text),
        ("y.m3u8", text + b"\x00\x01"),
        ("z.ffconcat", b"ffconcat version 1.0\x00"),
    ):
        with pytest.raises(ValueError, match=r"(but text that begins|cannot be decoded)"):
            read_audio(write(tmp_path / name, content))


def test_findings_of_other_containers_are_said_as_well(tmp_path: Path) -> None:
    path = encode_with_av(tmp_path / "x.mka", "flac", np.clip(10 * make_tone(2.0), -1, 1), 16000)
    (finding,) = load_recording(path).findings
    assert "at full scale" in finding.detail
