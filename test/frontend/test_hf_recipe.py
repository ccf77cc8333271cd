"""A recipe on the states of a pre-trained encoder: from recordings to a packed model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from speechllama.bin import llm_train, pack, translate
from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio
from speechllama.decode.speech2text import Speech2Text, Utterance
from speechllama.faults import InputError
from speechllama.files import read_table
from speechllama.frontend.front_ends import choose_front_end
from speechllama.model.audio import Features
from test.frontend.encoders import make_encoder
from test.trained_recipe import Recipe, hidden, train_recipe


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny HuBERT."""
    return make_encoder(tmp_path_factory.mktemp("hubert"), "hubert")


@pytest.fixture(scope="module")
def hf_recipe(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path, encoder: Path) -> Recipe:
    """E5 and E6 on two of its layers, in two bytes a number on disk."""
    conf = {"path": str(encoder), "layers": [1, 2], "storage": "int16"}
    return train_recipe(tmp_path_factory.mktemp("hf"), tiny_llm, choose_front_end("hf", conf))


def test_training_records_what_its_features_are(hf_recipe: Recipe, encoder: Path) -> None:
    for system in ("ctc", "e5", "e6"):
        settings = yaml.safe_load((hf_recipe.root / system / "config.yaml").read_text())
        assert (settings["frontend"], settings["feature_dim"], settings["num_layers"]) == ("hf", 32, 2)
        assert settings["frame_shift"] == 0.02 and len(settings["weights"]) == 64
        assert settings["frontend_conf"]["path"] == str(encoder)
    assert b"CM2 " in (hf_recipe.root / "train/dump/feats.1.ark").read_bytes()[:100]
    weights = hf_recipe.load(hf_recipe.root / "ctc/model.pth")["layer_weights"]
    assert weights.shape == (2,) and weights.abs().max() > 0  # they train


@pytest.fixture
def other_weights(hf_recipe: Recipe) -> Iterator[None]:
    """The features' record names other weights of the same width."""
    places = [hf_recipe.root / part / "dump/frontend.json" for part in ("train", "dev", "test")]
    records = [place.read_text() for place in places]
    for place, record in zip(places, records, strict=True):
        place.write_text(json.dumps({**json.loads(record), "weights": "0" * 64}))
    yield
    for place, record in zip(places, records, strict=True):
        place.write_text(record)


@pytest.mark.usefixtures("other_weights")
def test_features_of_other_weights_are_refused_wherever_they_are_read(hf_recipe: Recipe, tmp_path: Path) -> None:
    message = r"dump: features of another kind than those that .*/{} learned from; .*\n  weights: '0+', expected '[^0]"
    with pytest.raises(InputError, match=message.format("ctc")):
        hf_recipe.compress("test", name="others")
    with pytest.raises(InputError, match=message.format("e6")):
        hf_recipe.decode("e6", "dump", str(tmp_path / "decoded"))
    words = hf_recipe.llm_command("from_features", source="dump", compressor="none", freeze_encoder=True)
    with pytest.raises(InputError, match=message.format("ctc")):
        llm_train.main([*words, "--ctc_dir", str(hf_recipe.root / "ctc")])


def check_packed(recipe: Recipe, archive: Path, capsys: pytest.CaptureFixture[str], *places: Path) -> Speech2Text:
    """Pack E6 with its LLM: it writes for recordings what decode writes for features, also without some places."""
    texts = recipe.decode("e6", "dump", "e6/decoded", "--beam_size", "4", "--nbest", "1")
    pack.main(["--exp_dir", str(recipe.root / "e6"), "--output", str(archive), "--include_llm", "true"])
    recordings = read_table(recipe.root / "test/data/wav.scp")
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(hidden(place))
        model = Speech2Text.from_pretrained(archive)
        for utterance, path in recordings.items():
            waveform = read_audio(path)
            features = Features.pad(model.extract([waveform]))
            assert model.translate(features, [Utterance(len(waveform) / SAMPLE_RATE)])[0][0].text == texts[utterance]
            heard = model(path)  # in noise, a CTC encoder of a few updates may hear nothing
            assert [entry.text for entry in heard] in ([], [texts[utterance]])
        words = ["--segmentation", "even"]  # silero-vad finds no speech in noise
        assert translate.main(["--model", str(archive), path, *words]) in (0, None)
        assert capsys.readouterr().out == "".join(f"{path}\t{entry.text}\n" for entry in heard)
    return model


def test_recordings_and_prepared_features_give_the_same_text(
    hf_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    check_packed(hf_recipe, tmp_path / "e6.zip", capsys, encoder)  # its weights are in the zip
    unpacked = Speech2Text.from_pretrained(hf_recipe.root / "e6")
    recording = read_table(hf_recipe.root / "test/data/wav.scp").popitem()[1]
    with hidden(encoder), pytest.raises(ValueError, match="no preprocessor_config.json of a speech encoder"):
        unpacked(recording)
