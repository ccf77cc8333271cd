"""Trained experiments are packed, unpacked and loaded on their own LLM only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from speechllama.bin import pack, translate
from speechllama.constants import SAMPLE_RATE
from speechllama.decode.experiment import load_experiment
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json
from speechllama.llm.record import prepare_llm, read_llm_record


def test_a_packed_model_translates_files_anywhere(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=SAMPLE_RATE) * 0.1, SAMPLE_RATE)
    (tmp_path / "bad.mp3").write_bytes(b"nothing")
    pack.main(["--exp_dir", str(recipe.root / "e6"), "--output", str(tmp_path / "e6.zip"), "--include_llm", "true"])
    monkeypatch.chdir(tmp_path)
    status = translate.main(["--model", "e6.zip", "a.wav", "bad.mp3", "--segmentation", "even"])  # noise is no speech
    captured = capsys.readouterr()
    assert status == 1
    assert "bad.mp3" in captured.err
    path, text = captured.out.rstrip("\n").split("\t")
    assert path == "a.wav"
    assert Speech2Text.from_pretrained(recipe.root / "e6")(tmp_path / "a.wav")[0].text == text


def test_an_older_experiment_is_read(recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    config = tmp_path / "e5/config.yaml"
    settings = yaml.safe_load(config.read_text())
    for name in ("compressor_conf", "freeze_encoder"):
        settings.pop(name)
    older = {"drop_blank_runs": False, "max_compressed_length": None, "num_clusters": 0}
    config.write_text(yaml.safe_dump({**settings, **older}))
    now, then = (load_experiment(path).network for path in (recipe.root / "e5", tmp_path / "e5"))
    assert then.config == now.config
    assert then.config.freeze_encoder


def test_a_waveform_of_whole_numbers_is_heard_as_its_file(recipe: Any, tmp_path: Path) -> None:
    import soundfile

    samples = (np.random.default_rng(0).normal(size=SAMPLE_RATE) * 3000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    translate_speech = Speech2Text.from_pretrained(recipe.root / "e6")
    assert translate_speech(samples) == translate_speech(tmp_path / "a.wav")


def test_an_experiment_whose_paths_count_from_its_recipe_is_packed_from_anywhere(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("e5", "ctc", "llm"):
        shutil.copytree(recipe.root / name, tmp_path / "egs/exp" / name)
    config = tmp_path / "egs/exp/e5/config.yaml"
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, "ctc_dir": "exp/ctc", "llm_dir": "exp/llm"}))
    monkeypatch.chdir(tmp_path)
    pack.main(["--exp_dir", "egs/exp/e5", "--output", "e5.zip"])
    assert load_experiment("e5.zip").settings["ctc_dir"] == "e5.unpacked/ctc"
    with pytest.raises(FileNotFoundError, match="nothing/config.yaml: no trained experiment there; run it to stage `a"):
        pack.main(["--exp_dir", "nothing", "--output", "e5.zip"])


def test_a_packed_llm_is_read_from_the_zip(recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    record = read_json(recipe.root / "llm/llm.json")
    shutil.copytree(record["path"], tmp_path / "llm/model")
    prepare_llm(str(tmp_path / "llm/model"), None, tmp_path / "llm")  # as in the mini recipe, the path is relative
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(tmp_path / "llm")}))
    for system, inside, expected in (
        (recipe.root / "e5", "true", "inside.unpacked/llm/tiny"),
        (tmp_path / "e5", "false", "llm/model"),
    ):
        name = "inside" if inside == "true" else "outside"
        pack.main(["--exp_dir", str(system), "--output", str(tmp_path / f"{name}.zip"), "--include_llm", inside])
        load_experiment(tmp_path / f"{name}.zip")
        assert read_llm_record(str(tmp_path / f"{name}.unpacked/llm"))[0] == str(tmp_path / expected)


def test_an_llm_known_only_by_its_hub_id_is_not_packed(recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    (tmp_path / "llm").mkdir()
    record = read_json(recipe.root / "llm/llm.json")
    (tmp_path / "llm/llm.json").write_text(json.dumps({**record, "path": "organisation/llama"}))
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(tmp_path / "llm")}))
    with pytest.raises(ValueError, match="organisation/llama: a hub id; only an LLM in a local directory"):
        pack.main(["--exp_dir", str(tmp_path / "e5"), "--output", str(tmp_path / "e5.zip"), "--include_llm", "true"])


def test_weights_on_another_llm_are_refused(recipe: Any, tmp_path: Path, tiny_llm: Path) -> None:
    other = tmp_path / "llm"
    shutil.copytree(tiny_llm, other / "model")
    weights = bytearray((other / "model/model.safetensors").read_bytes())
    weights[-2000] ^= 1
    (other / "model/model.safetensors").write_bytes(weights)
    prepare_llm(str(other / "model"), None, other)
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(other)}))
    with pytest.raises(ValueError, match="model.pth: this checkpoint was trained on another base model"):
        load_experiment(tmp_path / "e5")
