"""Log-mel features against an oracle, and parts that survive being killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import soundfile

from speechllama.bin import make_features as entry
from speechllama.bin import merge_parts
from speechllama.data.ark import merge_parts as ark_merge
from speechllama.data.ark import read_matrix
from speechllama.data.audio import read_audio
from speechllama.data.data_dir import DataDir, write_data_dir
from speechllama.data.features import Extraction, make_features
from speechllama.data.recordings import Recordings
from speechllama.data.skipped import Reason, read_skipped
from speechllama.feature_shape import FeatureShape
from speechllama.files import read_table
from speechllama.frontend.fbank import Fbank
from speechllama.frontend.feature_format import read_format
from speechllama.frontend.front_ends import FRONT_ENDS, FbankSettings, FrontEnd, choose_front_end
from speechllama.frontend.trainable import Waveform


def plain_log_mel(waveform: np.ndarray) -> np.ndarray:
    """Kaldi's filter bank, frame by frame and bin by bin, in float64."""
    samples = waveform.astype(np.float64) * 32768
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85  # povey
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(20.0), mel(8000.0), 82)
    rows = []
    for start in range(0, len(samples) - 400 + 1, 160):
        frame = samples[start : start + 400].copy()
        frame -= frame.mean()
        frame -= 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for index in range(256):
                place = mel(index * 16000 / 512)
                if low < place < high:
                    slope = (place - low) / (centre - low) if place <= centre else (high - place) / (high - centre)
                    energy += slope * power[index]
            row.append(np.log(max(energy, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)


def test_features_equal_plain_kaldi() -> None:
    waveform = np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    features = Fbank()(waveform)
    assert features.shape == (23, 80) and features.dtype == np.float32
    # 7e-4 was measured against torchaudio before.
    np.testing.assert_allclose(features, plain_log_mel(waveform), atol=2e-3)


def test_features_equal_torchaudio_on_a_real_clip(shared_data: Path) -> None:
    torch = pytest.importorskip("torch")
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    clip = sorted(shared_data.glob("common_voice_sample/*/fr/clips/*.mp3"))[0]
    waveform = read_audio(clip)
    expected = kaldi.fbank(torch.from_numpy(waveform)[None] * 32768, num_mel_bins=80, dither=0.0)
    features = Fbank()(waveform)
    assert features.shape == tuple(expected.shape)
    # In bins far below their frame's loudest, float32's rounding of the spectrum is what is compared.
    loud = expected.numpy() > 5
    assert loud.mean() > 0.5
    np.testing.assert_allclose(features[loud], expected.numpy()[loud], atol=2e-3)


def test_equal_input_gives_equal_bytes() -> None:
    waveform = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    assert Fbank()(waveform).tobytes() == Fbank()(waveform.copy()).tobytes()


def test_settings_change_the_shape() -> None:
    waveform = np.zeros(16000, np.float32)
    assert Fbank(FbankSettings(num_mel_bins=40, frame_shift_ms=20.0))(waveform).shape == (49, 40)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((300,), r"0.0187 s of audio is too short for a frame: 300 samples, at least 400 \(0.025 s\)"),
        ((0,), "0.0000 s of audio is too short for a frame: 0 samples"),
        ((1, 16000), r"a waveform of shape \(1, 16000\), expected one channel \(S,\)"),
    ],
)
def test_what_is_no_waveform_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fbank()(np.zeros(shape, np.float32))


def test_parts_hold_all_utterances(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data = make_data_dir(num=7)
    for job in (1, 2, 3):
        make_features(data, tmp_path / "dump", (job, 3))
    places = {}
    for job in (1, 2, 3):
        places.update(read_table(tmp_path / f"dump/feats.{job}.scp"))
    assert places.keys() == read_table(data / "text").keys()
    for utterance, clip in read_table(data / "wav.scp").items():
        np.testing.assert_array_equal(read_matrix(places[utterance]), Fbank()(read_audio(clip)))


def test_segments_are_cut(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data = make_data_dir(num=2)
    clip = read_table(data / "wav.scp")["fr_1-clip01"]
    (data / "wav.scp").write_text(f"recording {clip}\n")
    (data / "segments").write_text("fr_0-clip00 recording 0.0 0.2\nfr_1-clip01 recording 0.2 0.55\n")
    make_features(data, tmp_path / "dump")
    assert read_table(tmp_path / "dump/utt2num_frames.1") == {"fr_0-clip00": "18", "fr_1-clip01": "33"}


@pytest.mark.parametrize("kind", ["fbank", "waveform", "hf"])
def test_a_recording_that_is_too_short_for_a_frame_is_named(
    make_data_dir: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    add: Callable[..., None],
) -> None:
    data = make_data_dir()
    clip = Path(read_table(data / "wav.scp")["fr_0-clip02"])
    soundfile.write(clip, np.full(300, 0.1), 16000)
    extraction = None
    if kind != "fbank":

        class Short(Fbank):
            """Reads waveforms as they are, or several at once, as front ends with weights do."""

            num_layers, weights = 1, ""

            def to(self, device: str) -> Short:
                return self

            def weight_bytes(self, device: str) -> int:
                return 0

            def many(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
                return [self(waveform) for waveform in waveforms]

        built = Waveform(lambda samples: samples // 400) if kind == "waveform" else Short()
        add(FRONT_ENDS, FrontEnd("short", FbankSettings, lambda settings: built))
        extraction = Extraction(choose_front_end("short", {}))
    make_features(data, tmp_path / "dump", extraction=extraction)
    (skip,) = read_skipped(tmp_path / "dump/skipped.1").values()
    assert skip.detail.startswith(f"{clip}: 0.0187 s of audio") and "too short for a frame" in skip.detail


def test_what_is_unusual_about_recordings_is_one_line(
    make_data_dir: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make_data_dir()
    clips = read_table(data / "wav.scp")
    for utterance in ("fr_0-clip02", "fr_1-clip03", "fr_1-clip05"):
        soundfile.write(clips[utterance], np.zeros(16000), 16000)
    soundfile.write(clips["fr_0-clip00"], np.sign(np.random.default_rng(1).normal(size=8000)), 16000)
    durations = read_table(data / "utt2dur") | {"fr_0-clip02": "1.0", "fr_1-clip03": "1.0"}
    (data / "utt2dur").write_text("".join(f"{key} {durations[key]}\n" for key in sorted(durations)))
    make_features(data, tmp_path / "dump")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == (
        f"{tmp_path}/dump: part 1: used as they are: 1 clipped (fr_0-clip00: clipped: 100.0% of its samples are at "
        "full scale); 3 silent (fr_0-clip02: no sound in 1.00 s); 1 of another duration than utt2dur has (fr_1-clip05: "
        "1.00 s, utt2dur has 0.750)"
    )


def test_a_finished_part_is_kept_until_its_input_changes(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, ark = make_data_dir(), tmp_path / "dump/feats.1.ark"
    make_features(data, tmp_path / "dump")
    first, content = ark.stat().st_mtime_ns, ark.read_bytes()
    make_features(data, tmp_path / "dump")
    assert ark.stat().st_mtime_ns == first
    clip = Path(read_table(data / "wav.scp")["fr_0-clip00"])
    clip.write_bytes(Path(read_table(data / "wav.scp")["fr_1-clip01"]).read_bytes())
    make_features(data, tmp_path / "dump")
    assert ark.read_bytes() != content


def test_a_killed_part_restarts_clean(
    make_data_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data_dir()
    make_features(data, tmp_path / "whole")

    def kill_at_third(recordings: Recordings, utterance: str) -> Any:
        if utterance == "fr_0-clip04":
            raise KeyboardInterrupt
        return read(recordings, utterance)

    read = Recordings.read
    monkeypatch.setattr(Recordings, "read", kill_at_third)
    with pytest.raises(KeyboardInterrupt):
        make_features(data, tmp_path / "dump")
    assert [path.name for path in (tmp_path / "dump").iterdir()] == ["frontend.json"]
    (tmp_path / "dump/feats.1.ark.tmp").write_bytes(b"what a SIGKILL leaves")
    monkeypatch.undo()
    make_features(data, tmp_path / "dump")
    names = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert names == ["feats.1.ark", "feats.1.done", "feats.1.scp", "frontend.json", "skipped.1", "utt2num_frames.1"]
    assert (tmp_path / "dump/feats.1.ark").read_bytes() == (tmp_path / "whole/feats.1.ark").read_bytes()


def test_bad_clips_are_skipped_counted_and_limited(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data = make_data_dir(num=6)
    wav_scp = read_table(data / "wav.scp")
    Path(wav_scp["fr_0-clip02"]).write_bytes(b"")
    make_features(data, tmp_path / "dump")  # one may always fail
    skip = read_skipped(tmp_path / "dump/skipped.1")["fr_0-clip02"]
    assert skip.reason == Reason.NO_FEATURES and "is empty" in skip.detail
    Path(wav_scp["fr_1-clip03"]).unlink()
    with pytest.raises(ValueError, match="kept 4 of 6; 2 failed, at most 1 may"):
        make_features(data, tmp_path / "dump")
    ark = (tmp_path / "dump/feats.1.ark").stat().st_mtime_ns
    make_features(data, tmp_path / "dump", max_bad_share=0.5)
    assert (tmp_path / "dump/feats.1.ark").stat().st_mtime_ns == ark  # what was done was kept


def test_features_that_are_no_numbers_are_left_out_and_named(
    make_data_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(self: Fbank, waveform: np.ndarray) -> np.ndarray:
        calls.append(len(waveform))
        return original(self, waveform) * np.float32(np.nan if len(calls) == 3 else 1)

    original = Fbank.__call__
    calls: list[int] = []
    monkeypatch.setattr(Fbank, "__call__", compute)
    make_features(make_data_dir(num=6), tmp_path / "dump")
    skipped = read_skipped(tmp_path / "dump/skipped.1")
    (utterance,) = skipped
    assert skipped[utterance].reason == Reason.NOT_FINITE
    assert "its features hold NaN or infinity in" in skipped[utterance].detail
    assert utterance not in read_table(tmp_path / "dump/feats.1.scp")


def test_a_recording_that_is_no_numbers_is_refused() -> None:
    waveform = np.zeros(4000, np.float32)
    waveform[7] = np.nan
    with pytest.raises(ValueError, match="1 of 4,000 samples are NaN or infinity, the first is 7"):
        Fbank(FbankSettings())(waveform)


def test_a_part_that_does_not_exist_is_refused(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    command = ["--data_dir", str(make_data_dir()), "--output_dir", str(tmp_path / "dump")]
    with pytest.raises(ValueError, match="no part 3 of 2"):
        entry.main([*command, "--num_jobs", "2", "--job", "3"])


def test_one_program_makes_and_merges_several_sets(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    sets = [make_data_dir("dev", num=3), make_data_dir("test", num=4)]
    dumps = [tmp_path / "dump" / data.name for data in sets]
    command = ["--data_dir", *map(str, sets), "--output_dir", *map(str, dumps)]
    for job in ("1", "2"):
        entry.main([*command, "--num_jobs", "2", "--job", job])
    merge_parts.main([*command, "--num_jobs", "2"])
    for data, dump in zip(sets, dumps, strict=True):
        assert read_table(dump / "feats.scp").keys() == read_table(data / "text").keys()
    with pytest.raises(ValueError, match="--output_dir: 1 given, expected one for each of 2"):
        merge_parts.main(["--data_dir", *map(str, sets), "--output_dir", str(dumps[0])])


def given_dir(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A data directory whose features somebody else wrote."""
    path.mkdir(exist_ok=True)
    kaldiio.save_ark(str(path / "elsewhere.ark"), arrays, scp=str(path / "elsewhere.scp"))
    tables: dict[str, dict[str, str]] = {"feats.scp": read_table(path / "elsewhere.scp")}
    for table, value in (("text", "Hello."), ("utt2spk", "s"), ("utt2lang", "fr"), ("utt2dur", "1.0")):
        tables[table] = dict.fromkeys(arrays, value)
    write_data_dir(DataDir(path / "data", tables), path / "data")
    return path / "data"


def test_given_features_stay_where_they_are(tmp_path: Path) -> None:
    arrays = {f"s-{index}": np.random.default_rng(index).normal(size=(5 + index, 3)) for index in range(3)}
    data = given_dir(tmp_path, arrays)
    given = Extraction(choose_front_end("given", {"dim": 3, "frame_shift_ms": 40}))
    make_features(data, tmp_path / "dump", extraction=given)
    assert read_table(tmp_path / "dump/feats.1.scp") == read_table(data / "feats.scp")
    assert not list((tmp_path / "dump").glob("*.ark"))
    assert read_table(tmp_path / "dump/utt2num_frames.1") == {"s-0": "5", "s-1": "6", "s-2": "7"}
    merged = ark_merge(data, tmp_path / "dump", 1)
    assert merged.table("feats.scp").keys() == arrays.keys()
    features = read_format(tmp_path / "dump")
    assert (features.shape, features.frontend) == (FeatureShape(3, 0.04), "given")
    with pytest.raises(ValueError, match="this model reads features that were made elsewhere"):
        features.build()(np.zeros(16000, np.float32))


def test_given_features_that_do_not_fit_are_named(tmp_path: Path) -> None:
    wide, unfinished = np.zeros((4, 5)), np.full((4, 3), np.nan)
    data = given_dir(tmp_path, {"s-a": wide, "s-b": unfinished, "s-c": np.zeros((4, 3))})
    given = Extraction(choose_front_end("given", {"dim": 3, "frame_shift_ms": 40}))
    with pytest.raises(
        ValueError, match=r"(?s)2 failed.*s-a: .*shape \(4, 5\), expected \(T, 3\).*s-b: .*NaN or infinity"
    ):
        make_features(data, tmp_path / "dump", extraction=given)
    with pytest.raises(ValueError, match="has no wav.scp .*, which the front end fbank reads"):
        make_features(data, tmp_path / "dump2")
