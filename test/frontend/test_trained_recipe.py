"""A recipe on a front end that trains: from recordings to a packed model, with the encoder frozen and without."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.bin import average_checkpoints, pack, seq2seq_train
from speechllama.data.ark import read_matrix
from speechllama.data.audio import read_audio
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_table
from speechllama.frontend.feature_format import read_format
from speechllama.frontend.front_ends import choose_front_end
from speechllama.frontend.hf_encoder import HfEncoder
from speechllama.model.build import load_ctc_encoder
from speechllama.model.checkpoint import FINGERPRINT
from speechllama.model.front_end import FrontedEncoder
from speechllama.train.seq2seq import load_seq2seq
from test.frontend.encoders import make_encoder
from test.frontend.test_hf_recipe import check_packed
from test.train.test_resume import assert_equal_weights, at_check
from test.trained_recipe import SEQ2SEQ_SIZES, SIZES, Recipe, hidden, train_recipe

CONVOLUTION: dict[str, Any] = {"compressor": "convolution", "freeze_encoder": False, "batch_bins": 300}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper."""
    return make_encoder(tmp_path_factory.mktemp("whisper"), "whisper")


@pytest.fixture(scope="module")
def lora_recipe(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path, encoder: Path) -> Recipe:
    """E5 and E6 on a CTC encoder that trained adapters of it."""
    conf = {"path": str(encoder), "overlap": 1.0, "train": "lora", "lora": {"rank": 2, "dropout": 0.1}}
    return train_recipe(tmp_path_factory.mktemp("lora"), tiny_llm, choose_front_end("hf", conf))


def test_stage_features_writes_waveforms_and_counts_the_states(lora_recipe: Recipe) -> None:
    dump = lora_recipe.root / "train/dump"
    features = read_format(dump)
    assert features.is_trained and (features.feature_dim, features.frame_shift) == (16, 0.02)
    extractor = features.build()
    assert isinstance(extractor, HfEncoder)
    recordings = read_table(lora_recipe.root / "train/data/wav.scp")
    counts, places = read_table(dump / "utt2num_frames"), read_table(dump / "feats.scp")
    for utterance, place in places.items():
        waveform, stored = read_audio(recordings[utterance]), read_matrix(place)
        assert stored.shape == (len(waveform), 1)
        step = np.ptp(waveform) / 65535  # 16 bits between the extremes
        np.testing.assert_allclose(stored[:, 0], waveform, atol=0.51 * step)
        assert int(counts[utterance]) == len(extractor(waveform))
    num_samples = sum(len(read_matrix(place)) for place in places.values())
    assert (dump / "feats.1.ark").stat().st_size < 2 * num_samples + 100 * len(places)
    with np.load(lora_recipe.root / "stats/cmvn.npz") as statistics:
        assert not statistics["mean"].any() and (statistics["std"] == 1).all() and statistics["mean"].shape == (16,)


def test_ctc_trains_the_adapters_and_keeps_nothing_else_of_the_front_end(lora_recipe: Recipe) -> None:
    folder = lora_recipe.root / "ctc"
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["frontend_conf"]["train"] == "lora" and settings["frontend_conf"]["lora"]["rank"] == 2
    assert (settings["feature_dim"], len(settings["weights"])) == (16, 64)
    first, last = (lora_recipe.load(folder / f"{epoch}epoch.pth") for epoch in (1, 2))
    own = {name.removeprefix("front_end.") for name in first if name.startswith("front_end.")}
    assert own - {FINGERPRINT} and all("lora_" in name for name in own - {FINGERPRINT})
    changed = {name for name in own if not torch.equal(first[f"front_end.{name}"], last[f"front_end.{name}"])}
    assert changed == own - {FINGERPRINT}
    stats = torch.load(folder / "checkpoint.pth", weights_only=False)["reporter"]["stats"]
    assert stats[2]["train"]["loss"] < stats[1]["train"]["loss"]


def test_the_cache_is_what_the_trained_front_end_gives(lora_recipe: Recipe, tmp_path: Path) -> None:
    lora_recipe.decode("e5", "compressed", "from_cache")
    lora_recipe.decode("e5", "dump", "from_waveforms")
    texts = [read_table(lora_recipe.root / name / "text") for name in ("from_cache", "from_waveforms")]
    assert texts[0] == texts[1] and len(texts[0]) == 6


def test_a_system_on_the_frozen_encoder_has_none_of_it_in_its_checkpoints(lora_recipe: Recipe) -> None:
    for system in ("e5", "e6"):
        names = lora_recipe.load(lora_recipe.root / system / "model.pth")
        assert not any("front_end" in name for name in names)


def test_recordings_and_prepared_waveforms_give_the_same_text(
    lora_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    places = (encoder, lora_recipe.root / "ctc")  # weights, adapters and CTC encoder are in the zip
    translate_speech = check_packed(lora_recipe, tmp_path / "e6.zip", capsys, *places)
    with pytest.raises(ValueError, match="the waveform holds no sample"):
        translate_speech(np.zeros(0, np.float32))


def test_packed_without_the_llm_the_front_end_stays_where_it_is(
    lora_recipe: Recipe, tmp_path: Path, encoder: Path
) -> None:
    archive = tmp_path / "e6.zip"
    pack.main(["--exp_dir", str(lora_recipe.root / "e6"), "--output", str(archive)])
    Speech2Text.from_pretrained(archive)
    with hidden(encoder), pytest.raises(ValueError, match="no preprocessor_config.json of a speech encoder"):
        Speech2Text.from_pretrained(archive)


def test_other_weights_at_the_same_place_are_refused(lora_recipe: Recipe, tmp_path: Path, encoder: Path) -> None:
    with hidden(encoder):
        make_encoder(encoder, "whisper", init_std=0.3)
        for system in (lora_recipe.root / "ctc", lora_recipe.root / "e6"):
            load = load_ctc_encoder if system.name == "ctc" else Speech2Text.from_pretrained
            with pytest.raises(
                ValueError, match="other weights than those of the features that the model learned from"
            ):
                load(system)
        for file in encoder.iterdir():
            file.unlink()
        encoder.rmdir()
    assert isinstance(load_ctc_encoder(lora_recipe.root / "ctc"), FrontedEncoder)


def test_ctc_training_stopped_inside_an_epoch_resumes_bit_for_bit(
    lora_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora_recipe.train_ctc("whole", max_epoch=3)
    lora_recipe.train_ctc("broken", max_epoch=1)
    with monkeypatch.context() as patch:
        at_check(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            lora_recipe.train_ctc("broken", max_epoch=3)
    assert (lora_recipe.root / "broken/interrupted.pth").is_file()
    checks = at_check(monkeypatch, 0, lambda: None)
    lora_recipe.train_ctc("broken", max_epoch=3)
    assert checks[0] == (2, 1)
    assert_equal_weights(lora_recipe, *(lora_recipe.root / name / "3epoch.pth" for name in ("whole", "broken")))


def test_with_an_encoder_that_trains_the_gradients_of_the_llms_loss_reach_the_adapters(
    lora_recipe: Recipe, tmp_path: Path
) -> None:
    encoder_conf = {"conv_channels": 2, "transformer": SIZES, "spec_augment": lora_recipe.masks}
    folder = lora_recipe.train_llm("e0", source="dump", encoder_conf=encoder_conf, **CONVOLUTION)
    first, last = (lora_recipe.load(folder / f"{epoch}epoch.pth") for epoch in (1, 2))
    own = [name for name in first if ".front_end." in name]
    assert own and all("lora_" in name for name in own)
    assert not any(torch.equal(first[name], last[name]) for name in own)
    lora_recipe.average("e0")
    texts = lora_recipe.decode("e0", "dump", "decoded_e0", "--beam_size", "4")
    archive = tmp_path / "e0.zip"
    pack.main(["--exp_dir", str(folder), "--output", str(archive), "--include_llm", "true"])
    recordings = read_table(lora_recipe.root / "test/data/wav.scp")
    from_zip = Speech2Text.from_pretrained(archive)
    assert {utterance: " ".join(from_zip(path)[0].text.split()) for utterance, path in recordings.items()} == texts


def test_an_encoder_decoder_trains_it_too(lora_recipe: Recipe) -> None:
    root, folder = lora_recipe.root, lora_recipe.root / "b1"
    config = lora_recipe.config("b1", model="seq2seq", network_conf=SEQ2SEQ_SIZES, batch_bins=40000)
    parts, kinds = ("train", "dev"), ("speech_shape", "text_shape")
    data = [lora_recipe.data(f"{part}/dump", "feats.scp,speech,kaldi_ark", "src_text,text,text") for part in parts]
    shapes = [[str(root / "stats" / part / kind) for kind in kinds] for part in parts]
    seq2seq_train.main(
        ["--config", config, "--output_dir", str(folder), "--resume", "true", "--ngpu", "0"]
        + ["--tokenizer", str(root / "bpe/bpe.model"), "--cmvn_file", str(root / "stats/cmvn.npz")]
        + lora_recipe.options(data, shapes)
    )
    average_checkpoints.main(["--exp_dir", str(folder), "--num_best", "1"])
    own = [name for name in lora_recipe.load(folder / "model.pth") if name.startswith("front_end.")]
    assert own and all("lora_" in name or name.endswith(FINGERPRINT) for name in own)
    network, _ = load_seq2seq(folder)
    assert network.front_end is not None
    assert lora_recipe.decode("b1", "dump", "decoded_b1").keys() == read_table(root / "test/dump/text").keys()
