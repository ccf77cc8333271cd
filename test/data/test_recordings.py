"""Recordings by path, by command and by segment; durations and segments that the recordings do not have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.bin import make_features as entry
from speechllama.data.audio import read_audio
from speechllama.data.durations_check import Checks, choose, spread
from speechllama.data.recordings import Recordings, Segment
from speechllama.data.validation import fix_data_dir, validate_data_dir
from speechllama.files import read_table


def kinds(path: Path, **checks: bool | int) -> list[str]:
    return [fault.kind for fault in validate_data_dir(path, Checks(**checks))]  # type: ignore[arg-type]


def make_segments(path: Path, *segments: str) -> None:
    """Make a data directory of segments of one recording of 2 s."""
    soundfile.write(path.parent / "long.wav", np.random.default_rng(2).normal(0, 0.1, 32000), 16000)
    keys = list(read_table(path / "utt2spk"))
    assert len(keys) == len(segments)
    (path / "wav.scp").write_text(f"rec {path.parent / 'long.wav'}\n")
    (path / "segments").write_text("".join(f"{key} rec {value}\n" for key, value in zip(keys, segments, strict=True)))
    (path / "utt2dur").write_text("".join(f"{key} 0.5\n" for key in keys))


@pytest.mark.parametrize(
    "value", ["rec 0.5 0.2", "rec 0.1", "rec x 1", "rec -1 1", "rec 0 -2", "rec nan -1", "rec 1 inf"]
)
def test_what_is_no_segment_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(repr(value))}, expected 'recording start end'"):
        Segment.parse(value)


def test_the_end_minus_one_is_that_of_the_recording(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=2)
    make_segments(path, "0.25 0.75", "1.5 -1")
    assert validate_data_dir(path) == []
    recordings = Recordings(read_table(path / "wav.scp"), read_table(path / "segments"))
    whole = read_audio(path.parent / "long.wav")
    assert np.array_equal(recordings.read("fr_0-clip00").waveform, whole[4000:12000])
    assert np.array_equal(recordings.read("fr_1-clip01").waveform, whole[24000:])


def test_segments_beyond_the_recording_are_named_cut_where_they_are_a_little_longer_else_dropped(
    make_data_dir: Callable[..., Path],
) -> None:
    path = make_data_dir(num=4)
    make_segments(path, "0 0.5", "1.7 2.2", "1.9 30", "2.5 3")  # by key: clip00, clip02, clip01, clip03
    faults = [str(fault) for fault in validate_data_dir(path) if fault.kind == "segment beyond the recording"]
    found = re.findall(r"segments:(\d).*the recording ends at 2.00 s; --fix (\w+)", "\n".join(faults))
    assert found == [("2", "cuts"), ("3", "drops"), ("4", "drops")]
    repairs = fix_data_dir(path)
    assert repairs.dropped == {"segment beyond the recording": 2}
    assert list(read_table(path / "segments").values()) == ["rec 0 0.5", "rec 1.7 -1"]
    assert validate_data_dir(path) == []
    recordings = Recordings(read_table(path / "wav.scp"), read_table(path / "segments"))
    assert [len(recordings.read(key).waveform) for key in recordings.segments] == [8000, 4800]


def test_a_duration_that_the_recording_does_not_have_is_named_and_repaired(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=12)
    durations = (path / "utt2dur").read_text()
    (path / "utt2dur").write_text(durations.replace("clip02 0.600", "clip02 999"))
    for checks in ({}, {"num_headers": 4}, {"num_headers": 0}):
        assert kinds(path, **checks) == ["wrong duration"]
    (fault,) = validate_data_dir(path)
    assert fault.where == f"{path}/utt2dur:2" and "clip02.wav has 0.60 s" in fault.found
    assert fix_data_dir(path).repaired == {"wrong duration": 1}
    assert (path / "utt2dur").read_text() == durations


def test_a_duration_that_the_segment_does_not_have_is_named(make_data_dir: Callable[..., Path]) -> None:
    path = make_data_dir(num=2)
    make_segments(path, "0 0.5", "0 1.9")
    assert [fault.where for fault in validate_data_dir(path)] == [f"{path}/utt2dur:2"]


def test_a_segment_that_ends_with_its_recording_has_the_duration_of_the_rest(
    make_data_dir: Callable[..., Path],
) -> None:
    path = make_data_dir(num=2)
    make_segments(path, "0 0.5", "0.5 -1")
    (path / "utt2dur").write_text((path / "utt2dur").read_text().replace("clip01 0.5", "clip01 999"))
    (fault,) = validate_data_dir(path)
    assert fault.where == f"{path}/utt2dur:2" and "has 999, its segment has 1.50 s; --fix writes that" in fault.found
    assert fix_data_dir(path).repaired == {"wrong duration": 1}
    assert list(read_table(path / "utt2dur").values()) == ["0.5", "1.500"]
    assert validate_data_dir(path) == []


def test_headers_are_read_of_the_extremes_and_of_others_at_even_distances() -> None:
    stated = {str(number): float(number) for number in range(100)}
    assert choose(stated, dict.fromkeys(stated, ""), 8) == ["0", "1", "2", "26", "50", "74", "98", "99"]
    assert len(choose(stated, dict.fromkeys(stated, ""), 0)) == 100
    assert spread("abcdef", 4) == ["a", "b", "d", "e"] and spread("ab", 0) == spread("ab", 3) == ["a", "b"]


def test_a_command_in_wav_scp_is_named_and_runs_only_where_that_is_allowed(
    make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_data_dir(num=3)
    clips = read_table(path / "wav.scp")
    ran = tmp_path / "ran"
    (path / "wav.scp").write_text("".join(f"{key} echo x >>{ran}; cat {clip} |\n" for key, clip in clips.items()))
    assert kinds(path) == ["command in wav.scp"] * 3 and kinds(path, allow_commands=True) == []
    assert fix_data_dir(path).dropped == {} and len(read_table(path / "wav.scp")) == 3
    words = ["--data_dir", str(path), "--output_dir", str(tmp_path / "dump")]
    with pytest.raises(ValueError, match=r"a command, which runs only with --allow_commands true"):
        entry.main(words)
    assert not ran.exists()
    entry.main([*words, "--allow_commands", "true"])
    assert ran.read_text().count("x") == 3
    assert list(read_table(tmp_path / "dump/feats.1.scp")) == list(clips)


def test_a_command_runs_once_for_neighbouring_segments_and_its_failure_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    places = {"rec": f"echo x >>{tmp_path}/ran; cat {tmp_path}/a.wav |", "no": "cat /none | cat |", "empty": "true |"}
    recordings = Recordings(places, {"a": "rec 0 0.5", "b": "rec 0.5 -1"}, allow_commands=True)
    assert [len(recordings.read(key).waveform) for key in "ab"] == [8000, 8000]
    assert (tmp_path / "ran").read_text() == "x\n"
    recordings.segments = {}
    for name, message in (("no", "failed with status 1: cat: /none"), ("empty", "wrote nothing")):
        with pytest.raises(ValueError, match=message):
            recordings.read(name)
