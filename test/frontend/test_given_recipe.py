"""A recipe on features from elsewhere: no recording anywhere, from the data directory to a packed model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from speechllama.bin import decode, pack
from speechllama.data.ark import ark_writer, read_matrix
from speechllama.decode.speech2text import Speech2Text, Utterance
from speechllama.files import read_table, write_table
from speechllama.frontend.front_ends import choose_front_end
from speechllama.model.audio import Features
from test.trained_recipe import Recipe, train_recipe

WIDTH = 6  # of a sensor, at 100 Hz


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Recipe:
    """E5 and E6 on the numbers of a sensor."""
    front_end = choose_front_end("given", {"dim": WIDTH, "frame_shift_ms": 10.0})
    return train_recipe(tmp_path_factory.mktemp("sensors"), tiny_llm, front_end)


def test_a_recipe_needs_no_recording(sensors: Recipe, tmp_path: Path) -> None:
    root = sensors.root
    assert not [*root.rglob("*.wav"), *root.rglob("wav.scp")]
    assert read_table(root / "test/dump/feats.scp") == read_table(root / "test/data/feats.scp"), "nothing is copied"
    for system in ("ctc", "e5", "e6"):
        settings = yaml.safe_load((root / system / "config.yaml").read_text())
        assert (settings["frontend"], settings["feature_dim"], settings["frame_shift"]) == ("given", WIDTH, 0.01)
    texts = sensors.decode("e6", "compressed", "e6/cached")
    assert texts == sensors.decode("e6", "dump", "e6/decoded")
    archive = tmp_path / "e6.zip"
    pack.main(["--exp_dir", str(root / "e6"), "--output", str(archive), "--include_llm", "true"])
    model = Speech2Text.from_pretrained(archive)
    for utterance, place in read_table(root / "test/dump/feats.scp").items():
        features = read_matrix(place)
        audio = Features.pad([features])
        assert model.translate(audio, [Utterance(len(features) / 100)])[0][0].text == texts[utterance]
    with pytest.raises(ValueError, match="a recording, but this model reads features that were made elsewhere"):
        model(np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1, 16000)


def test_features_of_another_width_are_refused(sensors: Recipe, tmp_path: Path) -> None:
    source = sensors.root / "test/dump"
    with ark_writer(tmp_path, "feats", 1) as write:
        for utterance in read_table(source / "text"):
            write(utterance, np.zeros((80, WIDTH + 1), np.float32))
    for table in ("text", "src_text", "utt2spk", "utt2lang", "utt2dur"):
        write_table(tmp_path / table, read_table(source / table))
    shutil.copy(source / "frontend.json", tmp_path)
    write_table(tmp_path / "feats.scp", read_table(tmp_path / "feats.1.scp"))
    write_table(tmp_path / "utt2num_frames", dict.fromkeys(read_table(source / "text"), "80"))
    words = ["--exp_dir", str(sensors.root / "e6"), "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"feats.scp: .*: \(7,\) numbers in each frame, expected \(6,\)"):
        decode.main(words)
