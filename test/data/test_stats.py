"""Statistics and shape files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from speechllama.bin import collect_stats as entry
from speechllama.data.ark import ark_writer, merge_parts, read_matrix
from speechllama.data.features import make_features
from speechllama.data.stats import collect_stats, feature_statistics, num_frames_needed
from speechllama.feature_shape import num_encoder_frames
from speechllama.files import read_table
from speechllama.text.tokenizer import CTCTokenizer, train_tokenizer


@pytest.mark.parametrize(("frames", "encoded"), [(1, 1), (2, 1), (4, 1), (5, 2), (7, 2), (8, 2), (9, 3), (100, 25)])
def test_frames_are_halved_twice_rounding_up(frames: int, encoded: int) -> None:
    assert num_encoder_frames(frames) == encoded == int(np.ceil(np.ceil(frames / 2) / 2))


@pytest.mark.parametrize(("units", "needed"), [([], 0), ([5], 1), ([5, 5], 3), ([1, 2, 2, 2, 1], 7)])
def test_equal_neighbours_need_a_blank_between(units: list[int], needed: int) -> None:
    assert num_frames_needed(units) == needed


def test_statistics_equal_those_of_all_frames_together(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    matrices = [random.normal(7, 3, (size, 4)).astype(np.float32) for size in (5, 1, 30)]
    with ark_writer(tmp_path, "feats", 1) as write:
        for index, matrix in enumerate(matrices):
            matrix[:, 3] = 2.0  # a bin that never changes
            write(f"utt{index}", matrix)
    mean, std, frames = feature_statistics(read_table(tmp_path / "feats.1.scp"))
    together = np.concatenate(matrices).astype(np.float64)
    assert frames == 36 and mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, together.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std[:3], together.std(axis=0)[:3], rtol=1e-6)
    assert std[3] > 0


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.ones((3, 5)), r"features of odd are \(3, 5\), expected \(T, 4\)"),
        (
            np.full((3, 4), np.nan),
            r"feats.scp: odd: .*feats.ark:\d+: the features hold NaN or infinity in 3 of 3",
        ),
    ],
)
def test_odd_features_are_refused(tmp_path: Path, bad: np.ndarray, found: str) -> None:
    scp = tmp_path / "feats.scp"
    kaldiio.save_ark(str(tmp_path / "feats.ark"), {"good": np.ones((3, 4)), "odd": bad}, scp=str(scp))
    with pytest.raises(ValueError, match=found):
        feature_statistics(read_table(scp))


@pytest.fixture()
def prepared(make_data_dir: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    data, dump = make_data_dir(), tmp_path / "dump"
    make_features(data, dump)
    merge_parts(data, dump, 1)
    texts = ["Bonjour là.", "Hello there.", "Une autre phrase."] * 3
    return dump, train_tokenizer(texts, tmp_path / "units", 40)


def test_only_utterances_that_ctc_can_learn_get_shapes(
    prepared: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dump, tokenizer_path = prepared
    text = (dump / "src_text").read_text(encoding="utf-8")
    text = text.replace("fr_0-clip00 Bonjour là.", "fr_0-clip00 " + "Bonjour là. " * 9)
    text = text.replace("fr_1-clip05 Bonjour là.", "fr_1-clip05 ")
    (dump / "src_text").write_text(text, encoding="utf-8")
    command = ["--train_dir", str(dump), "--dev_dir", str(dump), "--tokenizer", str(tokenizer_path)]
    with caplog.at_level(logging.INFO):
        entry.main([*command, "--output_dir", str(tmp_path / "stats")])
    assert "kept 4 of 6 utterances for CTC; left out 2 (fr 2):" in caplog.text
    tokenizer = CTCTokenizer(tokenizer_path)
    for name in ("train", "dev"):
        speech = read_table(tmp_path / f"stats/{name}/speech_shape")
        labels = read_table(tmp_path / f"stats/{name}/text_shape")
        assert list(speech) == list(labels) == ["fr_0-clip02", "fr_0-clip04", "fr_1-clip01", "fr_1-clip03"]
        places, texts = read_table(dump / "feats.scp"), read_table(dump / "src_text")
        for utterance in speech:
            assert speech[utterance] == ",".join(map(str, read_matrix(places[utterance]).shape))
            assert labels[utterance] == str(len(tokenizer.encode(texts[utterance])))
        skipped = (tmp_path / f"stats/{name}/skipped").read_text()
        assert "fr_1-clip05\tno_units\tits src_text '' has no CTC units" in skipped
    stats = np.load(tmp_path / "stats/cmvn.npz")
    assert stats["mean"].shape == stats["std"].shape == (80,)
    assert int(stats["frames"]) == sum(map(int, read_table(dump / "utt2num_frames").values()))


def test_two_runs_give_the_same_bytes(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        data_dirs = dict.fromkeys(("train", "dev"), prepared[0])
        collect_stats(data_dirs, prepared[1], tmp_path / name, num_encoder_frames, "text")
    assert (tmp_path / "one/cmvn.npz").read_bytes() == (tmp_path / "two/cmvn.npz").read_bytes()


def test_a_directory_without_features_is_refused(
    prepared: tuple[Path, Path], make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="feats.scp, utt2num_frames missing or empty"):
        data_dirs = {"train": prepared[0], "dev": make_data_dir("bare")}
        collect_stats(data_dirs, prepared[1], tmp_path / "stats", num_encoder_frames)


def test_no_usable_utterance_is_refused(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    dump = prepared[0]
    text = (dump / "text").read_text().replace("Hello there.", "Hello there. " * 40)
    (dump / "text").write_text(text)
    with pytest.raises(ValueError, match="kept 0 of 6 utterances for CTC"):
        collect_stats({"train": dump, "dev": dump}, prepared[1], tmp_path / "stats", num_encoder_frames, "text")
