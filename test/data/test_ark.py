"""Arks, and parts merged into a data directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from espnet2.train.dataset import ESPnetDataset

from speechllama.bin import merge_parts as entry
from speechllama.data.ark import ark_writer, check_maker, merge_parts, read_batch, read_matrix, split_part
from speechllama.data.data_dir import read_data_dir
from speechllama.data.features import make_features
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_table, write_table


def test_matrices_come_back_through_kaldiio(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    matrices = {f"é{index}": random.normal(size=(3 + index, 5)).astype(np.float32) for index in range(4)}
    with ark_writer(tmp_path, "feats", 1) as write:
        for utterance, matrix in matrices.items():
            write(utterance, matrix)
    loaded = kaldiio.load_scp(str(tmp_path / "feats.1.scp"))
    assert set(loaded) == set(matrices)
    for utterance, matrix in matrices.items():
        np.testing.assert_array_equal(loaded[utterance], matrix)
    sequential = dict(kaldiio.load_ark(str(tmp_path / "feats.1.ark")))
    np.testing.assert_array_equal(sequential["é3"], matrices["é3"])


def test_waveforms_take_two_bytes_a_sample_and_none_is_clipped(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    waveforms = {"loud": random.normal(size=4000) * 3, "quiet": random.normal(size=3000) * 1e-3, "none": np.zeros(500)}
    with ark_writer(tmp_path, "feats", 1, "int16") as write:
        for utterance, waveform in waveforms.items():
            write(utterance, waveform[:, None].astype(np.float32))
    assert (tmp_path / "feats.1.ark").stat().st_size < 2 * 7500 + 100
    loaded = kaldiio.load_scp(str(tmp_path / "feats.1.scp"))
    for utterance, waveform in waveforms.items():
        assert loaded[utterance].shape == (len(waveform), 1) and loaded[utterance].dtype == np.float32
        step = max(np.ptp(waveform), 1e-9) / 65535
        np.testing.assert_allclose(loaded[utterance][:, 0], waveform, atol=0.51 * step + 1e-6)


def test_int16_takes_half_the_space_and_all_readers_know_it(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    states = {"a": random.normal(size=(300, 64)), "b": random.normal(size=(1, 64)) * 1e3, "c": np.ones((2, 64))}
    with ark_writer(tmp_path, "feats", 1, "int16") as write:
        for utterance, matrix in states.items():
            write(utterance, matrix.astype(np.float32))
        write("units", np.array([3, 70_000], np.int32))
    assert (tmp_path / "feats.1.ark").stat().st_size < 2 * 303 * 64 + 600
    places = read_table(tmp_path / "feats.1.scp")
    assert read_matrix(places["units"]).tolist() == [3, 70_000]
    data = ESPnetDataset([(str(tmp_path / "feats.1.scp"), "speech", "kaldi_ark")], float_dtype="float32")
    for utterance, matrix in states.items():
        read = read_matrix(places[utterance])
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, matrix, atol=0.51 * np.ptp(matrix) / 65535 + 1e-6)
        np.testing.assert_array_equal(data[utterance][1]["speech"], read)  # what training reads


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"), ark_writer(tmp_path, "feats", 1) as write:
        write("a", np.zeros((2, 3)))
        raise RuntimeError("killed")
    assert not list(tmp_path.iterdir())


def test_an_utterance_is_written_once(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="'a' is written a second time"),
        ark_writer(tmp_path, "feats", 1) as write,
    ):
        write("a", np.zeros((2, 3)))
        write("a", np.zeros((2, 3)))


def test_what_is_no_number_is_refused_where_it_is_written(tmp_path: Path) -> None:
    array = np.zeros((4, 3), np.float32)
    array[2, 1] = np.nan
    message = r"compressed.1.ark: compressed of utterance 'b' hold NaN or infinity in 1 of 4 frames, the first is 2"
    with pytest.raises(ValueError, match=message), ark_writer(tmp_path, "compressed", 1) as write:
        write("units", np.array([3, 5], np.int32))
        write("a", np.zeros((2, 3)))
        write("b", array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["{0}/none.ark:3", "{0}/bad.ark:2"])
def test_an_unreadable_place_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "bad.ark").write_bytes(b"a \0BFM \4\x09")
    with pytest.raises(ValueError, match="no matrix can be read there"):
        read_matrix(place.format(tmp_path))


@pytest.mark.parametrize("total", [0, 1, 7, 20])
def test_parts_are_all_and_nearly_equal(total: int) -> None:
    items = [str(index) for index in range(total)]
    parts = [split_part(items, 4, job) for job in (1, 2, 3, 4)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_merged_parts_are_a_valid_data_directory(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, dump = make_data_dir(num=6), tmp_path / "dump"
    Path(read_table(data / "wav.scp")["fr_0-clip02"]).write_bytes(b"")
    for job in (1, 2):
        make_features(data, dump, (job, 2))
    command = ["--data_dir", str(data), "--output_dir", str(dump), "--num_jobs", "2"]
    entry.main(command)
    merged = read_data_dir(dump)
    assert len(merged.utterances) == 5 and "fr_0-clip02" not in merged.table("text")
    assert set(merged.tables) == {
        "feats.scp",
        "src_text",
        "text",
        "utt2dur",
        "utt2lang",
        "utt2num_frames",
        "utt2spk",
    }
    assert (dump / "skipped").read_text().startswith("fr_0-clip02\t")
    assert validate_data_dir(dump) == []
    content = (dump / "feats.scp").read_bytes()
    entry.main(command)
    assert (dump / "feats.scp").read_bytes() == content


def test_what_the_parts_lost_together_is_limited(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, dump = make_data_dir(num=6), tmp_path / "dump"
    for utterance in ("fr_0-clip02", "fr_1-clip05"):
        Path(read_table(data / "wav.scp")[utterance]).write_bytes(b"")
    for job in (1, 2):
        make_features(data, dump, (job, 2))  # each part by itself lost one, which may always be
    command = ["--data_dir", str(data), "--output_dir", str(dump), "--num_jobs", "2"]
    with pytest.raises(ValueError, match=r"dump: 2 of 6 failed, at most 1 may \(--max_bad_share 0.05\)"):
        entry.main(command)
    entry.main([*command, "--max_bad_share", "0.34"])
    assert len(read_data_dir(dump).utterances) == 4


def test_parts_without_any_utterance_say_why(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, dump = make_data_dir(num=2), tmp_path / "dump"
    for path in read_table(data / "wav.scp").values():
        Path(path).write_bytes(b"")
    make_features(data, dump, max_bad_share=1.0)
    message = r"no utterance of .*data is left:\s+fr_0-clip00: .*fr_0-clip00.wav: the recording is empty"
    with pytest.raises(ValueError, match=message):
        merge_parts(data, dump, 1)


def test_compressed_parts_bring_their_hypotheses(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, output = make_data_dir(num=2), tmp_path / "compressed"
    for job, utterance in ((1, "fr_0-clip00"), (2, "fr_1-clip01")):
        with ark_writer(output, "compressed", job) as write:
            write(utterance, np.ones((4, 2)))
        write_table(output / f"utt2num_frames.{job}", {utterance: "4"})
        write_table(output / f"ctc_hyp.{job}", {utterance: "" if job == 1 else "bon jour"})
    merged = merge_parts(data, output, 2, "compressed")
    assert merged.table("ctc_hyp") == {"fr_0-clip00": "", "fr_1-clip01": "bon jour"}
    assert validate_data_dir(output) == []
    assert "feats.scp" not in merged.tables


def test_parts_of_other_data_are_refused(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, dump = make_data_dir(num=4), tmp_path / "dump"
    make_features(data, dump)
    larger = make_data_dir("larger", num=5)
    with pytest.raises(ValueError, match="fr_0-clip04: in no part and not skipped"):
        merge_parts(larger, dump, 1)
    smaller = make_data_dir("smaller", num=3)
    with pytest.raises(ValueError, match="fr_1-clip03: not in"):
        merge_parts(smaller, dump, 1)
    with pytest.raises(FileNotFoundError, match="feats.2.scp"):
        merge_parts(data, dump, 2)
    write_skipped(dump / "skipped.1", {"fr_0-clip00": Skip(Reason.OTHER, "twice")})
    with pytest.raises(ValueError, match="fr_0-clip00: skipped, yet in the scp"):
        merge_parts(data, dump, 1)


def test_an_utterance_in_two_parts_is_refused(make_data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, dump = make_data_dir(num=2), tmp_path / "dump"
    make_features(data, dump)
    for name in ("feats.{}.scp", "utt2num_frames.{}"):
        (dump / name.format(2)).write_bytes((dump / name.format(1)).read_bytes())
    with pytest.raises(ValueError, match="2 utterances are in an earlier part too"):
        merge_parts(data, dump, 2)


def test_a_cache_of_before_compressor_conf_is_read_unless_it_is_of_units(tmp_path: Path) -> None:
    old = {
        "name": "frame_average",
        "drop_blank_runs": False,
        "max_compressed_length": 9,
        "num_clusters": 0,
        "encoder": "e",
    }
    conf = {"drop_blank_runs": False, "max_compressed_length": 9}
    expected = {"compressor": "frame_average", "compressor_conf": conf, "encoder": "e"}
    done = tmp_path / "compressed.1.done"
    done.write_text(json.dumps([old, {}]))
    check_maker(tmp_path, "compressed", expected)
    done.write_text(json.dumps([{**old, "max_compressed_length": None}, {}]))
    with pytest.raises(ValueError, match="'max_compressed_length': None.*whose marker .compress.done must be removed"):
        check_maker(tmp_path, "compressed", expected)
    done.write_text(json.dumps([{**old, "name": "units", "num_clusters": 5, "centroids": "c"}, {}]))
    units = {"compressor": "units", "compressor_conf": {"num_clusters": 5}, "encoder": "e", "centroids": "c"}
    with pytest.raises(ValueError, match="run stage `compress` again"):
        check_maker(tmp_path, "compressed", units)


def test_a_matrix_of_another_width_is_named_with_its_table(tmp_path: Path) -> None:
    arrays = {"a": np.ones((3, 4)), "b": np.ones((3, 5)), "c": np.ones((2, 4))}
    kaldiio.save_ark(str(tmp_path / "feats.ark"), arrays, scp=str(tmp_path / "feats.scp"))
    places = read_table(tmp_path / "feats.scp")
    message = r"feats.scp: b: .*feats.ark:\d+: \(5,\) numbers in each frame, expected \(4,\)"
    with pytest.raises(ValueError, match=message):
        read_batch(places, ["a", "b", "c"], tmp_path / "feats.scp")
    with pytest.raises(ValueError, match=message):
        read_batch(places, ["b"], tmp_path / "feats.scp", 4)
    assert [matrix.shape for matrix in read_batch(places, ["a", "c"], tmp_path / "feats.scp", 4)] == [(3, 4), (2, 4)]


@pytest.mark.parametrize("content", [b"", b"[{]", b"\xff\xfe", b"{}", b"[1]"])
def test_a_damaged_record_of_the_cache_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "compressed.1.done").write_bytes(content)
    with pytest.raises(ValueError, match=r"compressed.1.done: not a record that stage `compress` wrote"):
        check_maker(tmp_path, "compressed", {"compressor": "frame_average"})
