"""A packed model is the folder that a repository on a hub shows, with everything in it and nothing of the machine."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechllama.bin import pack
from speechllama.decode.experiment import load_experiment
from speechllama.decode.packed import ORIGIN_FILE, unpack
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.systems import load_system
from speechllama.share.package import PackOptions, write_package
from test.seq2seq_recipe import train_b1, tune_b2
from test.share.test_llm import make_experiment
from test.trained_recipe import hidden


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ORIGIN_FILE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_zip_is_the_folder(scored: Path, tmp_path: Path) -> None:
    pack.main(["--exp_dir", str(scored / "e6"), "--output", str(tmp_path / "e6.zip"), "--include_llm", "true"])
    folder = tmp_path / "folder"
    folder.mkdir()
    names = write_package(scored / "e6", folder, "e6.zip", PackOptions(include_llm=True))
    found = contents(folder)
    assert contents(unpack(tmp_path / "e6.zip")) == found and names == sorted(found)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    config = yaml.safe_load(found["config.yaml"])
    assert not [name for name in config if name.startswith(("train_data", "valid_data", "output_dir", "init_from"))]
    assert {"README.md", "search.json", "model.safetensors", "llm/llm.json", "llm/tiny/model.safetensors"} < set(found)


def test_the_encoder_decoder_and_a_rescoring_system_are_packed_without_pickles(
    recipe: Any, seq2seq_sizes: dict[str, Any], tmp_path: Path
) -> None:
    train_b1(recipe, seq2seq_sizes)
    tune_b2(recipe, "b1", weights=[0.5], length_norms=[0.0])
    pack.main(["--exp_dir", str(recipe.root / "b2_b1"), "--output", str(tmp_path / "b2.zip"), "--include_llm", "true"])
    with zipfile.ZipFile(tmp_path / "b2.zip") as archive:
        names = archive.namelist()
        card = archive.read("README.md").decode()
    assert {"base/model.safetensors", "base/bpe.model", "rescoring.json", "llm/llm.json"} <= set(names)
    assert not [name for name in names if name.endswith((".pth", ".bin"))]
    assert "An LLM chooses among the hypotheses of the system `b1`." in card and "licence not stated." in card
    config = SearchConfig(beam_size=3)
    expected = load_system(recipe.root / "b2_b1", config=config)
    with hidden(recipe.root / "b1"), hidden(recipe.root / "llm"):
        recipe.assert_same_texts(load_system(tmp_path / "b2.zip", config=config), expected)


def test_a_packed_model_is_packed_again(scored: Path, tmp_path: Path) -> None:
    for source, name in ((scored / "e6", "one"), (tmp_path / "one.unpacked", "two")):
        pack.main(["--exp_dir", str(source), "--output", str(tmp_path / f"{name}.zip"), "--include_llm", "true"])
        unpack(tmp_path / f"{name}.zip")
    one, two = (contents(tmp_path / f"{name}.unpacked") for name in ("one", "two"))
    assert {name: one[name] for name in one if name.endswith("safetensors")} == {
        name: two[name] for name in two if name.endswith("safetensors")
    }


def test_a_fully_trained_llm_keeps_its_context(recipe: Any, tmp_path: Path) -> None:
    system = make_experiment(recipe, tmp_path / "full", train="full")
    pack.main(["--exp_dir", str(system), "--output", str(tmp_path / "full.zip"), "--include_llm", "true"])
    trained, packed = (load_experiment(place).network.llm for place in (system, unpack(tmp_path / "full.zip")))
    assert packed.config.without_weights and not packed.config.random_weights
    assert packed.context == trained.context is not None


def test_code_next_to_an_llm_stays_there(scored: Path, tmp_path: Path, recipe: Any, edit_settings: Any) -> None:
    from speechllama.llm.record import prepare_llm, read_llm_record

    shutil.copytree(read_llm_record(str(recipe.root / "llm"))[0], tmp_path / "llm/model")
    (tmp_path / "llm/model/modeling_evil.py").touch()
    (tmp_path / "llm/model/LICENSE").touch()
    prepare_llm(str(tmp_path / "llm/model"), None, tmp_path / "llm")
    shutil.copytree(scored / "e6", tmp_path / "e6")
    edit_settings(tmp_path / "e6", llm_dir=str(tmp_path / "llm"))
    (tmp_path / "folder").mkdir()
    names = write_package(tmp_path / "e6", tmp_path / "folder", "e6", PackOptions(include_llm=True))
    assert "llm/model/LICENSE" in names and "llm/model/modeling_evil.py" not in names


def test_what_is_not_there_cannot_be_packed(scored: Path, tmp_path: Path) -> None:
    shutil.copytree(scored / "e6", tmp_path / "e6")
    (tmp_path / "e6/model.pth").unlink()
    with pytest.raises(FileNotFoundError, match="e6/model.pth: no trained experiment there; run it to stage `average`"):
        pack.main(["--exp_dir", str(tmp_path / "e6"), "--output", str(tmp_path / "e6.zip")])
    assert not (tmp_path / "e6.zip").exists()
