"""The systems D (a decoder from scratch) and U (discrete units) through training, decoding and packing, on noise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import learn_units, make_scratch_llm, pack
from speechllama.data.ark import read_matrix
from speechllama.data.data_dir import read_data_dir
from speechllama.decode.experiment import load_experiment
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio import Features
from test.trained_recipe import hidden

NUM_CLUSTERS = 12
UNITS = f"{{num_clusters: {NUM_CLUSTERS}}}"


@pytest.fixture(scope="module")
def scratch(recipe: Any) -> Path:
    """A decoder from scratch, trained for two epochs."""
    sizes = {"vocab_size": 90, "width": 24, "num_layers": 2, "num_heads": 2, "ffn_dim": 32}
    config = recipe.root / "decoder.yaml"
    config.write_text(yaml.safe_dump(sizes))
    llm_dir = recipe.root / "llm_d"
    make_scratch_llm.main(
        ["--config", str(config), "--text", str(recipe.root / "train/dump/text"), "--output_dir", str(llm_dir)]
    )
    none = {**recipe.sizes, "num_layers": 0}
    experiment: Path = recipe.train_llm(
        *("d", "--llm_dir", str(llm_dir)),
        source="dump",
        compressor="none",
        freeze_encoder=False,
        encoder_conf={"conv_channels": 2, "transformer": none, "spec_augment": recipe.masks},
        audio_encoder_conf=none,
        llm_conf={"train": "full", "random_weights": True},
        prompt_conf={"template": "{audio}", "start": "behind_audio"},
    )
    recipe.average("d")
    return experiment


def test_an_llm_from_scratch_has_a_shape_and_the_tokens_of_its_target_text(recipe: Any, scratch: Path) -> None:
    record = read_json(recipe.root / "llm_d/llm.json")
    files = {path.name for path in (recipe.root / "llm_d/model").iterdir()}
    assert "config.json" in files and "tokenizer.json" in files
    assert not any(name.endswith(".safetensors") for name in files)
    llm = LLM(LLMConfig(str(recipe.root / "llm_d/model"), train="full", random_weights=True))
    assert record["num_parameters"] == sum(parameter.numel() for parameter in llm.parameters())
    prompt = load_experiment(scratch).prompt
    for text in read_table(recipe.root / "train/dump/text").values():
        assert prompt.decode(prompt.encode(text)) == text
    assert prompt.render() == ([], [prompt.tokenizer.bos_token_id])
    with pytest.raises(ValueError, match="transformers cannot load a causal LM from it"):
        LLM(LLMConfig(str(recipe.root / "llm_d/model")))  # frozen weights would have to be there


def test_checkpoints_of_the_decoder_from_scratch_hold_the_whole_llm(recipe: Any, scratch: Path) -> None:
    network = load_experiment(scratch).network
    state = recipe.load(scratch / "model.pth")
    names = {f"network.{name}" for name, _ in network.named_parameters()}
    assert names | {"network.base_fingerprint"} == set(state)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, state[f"network.{name}"])
    settings = yaml.safe_load((scratch / "config.yaml").read_text())
    assert settings["prompt_conf"]["start"] == "behind_audio"


def test_a_packed_decoder_from_scratch_needs_nothing_else(recipe: Any, scratch: Path, tmp_path: Path) -> None:
    assert len(recipe.decode("d", "dump", "d/decoded")) == 6
    own = Speech2Text.from_pretrained(scratch)
    pack.main(["--exp_dir", str(scratch), "--output", str(tmp_path / "d.zip"), "--include_llm", "false"])
    with hidden(recipe.root / "llm_d"):
        translate = Speech2Text.from_pretrained(tmp_path / "d.zip")
    recipe.assert_same_texts(translate, own)
    recipe.assert_same_segments(translate, own)


def test_a_fully_trained_llm_is_packed_without_the_weights_it_started_from(recipe: Any, tmp_path: Path) -> None:
    recipe.train_llm("full", "--max_epoch", "1", llm_conf={"train": "full"})
    recipe.average("full")
    pack.main(["--exp_dir", str(recipe.root / "full"), "--output", str(tmp_path / "full.zip")])
    packed = load_experiment(tmp_path / "full.zip").network
    assert not list((tmp_path / "full.unpacked/llm").rglob("*.safetensors"))
    for name, tensor in load_experiment(recipe.root / "full").network.state_dict().items():
        assert torch.equal(tensor, packed.state_dict()[name]), name


@pytest.fixture(scope="module")
def units(recipe: Any) -> Path:
    """Units, their embeddings, then LoRA."""
    centroids = recipe.root / "centroids.npz"
    learn_units.main(
        ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "train/dump")]
        + ["--compressor_conf", UNITS, "--output_file", str(centroids)]
    )
    more = ["--centroids_file", str(centroids)]
    for part in ("train", "dev", "test"):
        recipe.compress(part, "--compressor", "units", "--compressor_conf", UNITS, *more, name="units")
    settings = {"compressor": "units", "compressor_conf": {"num_clusters": NUM_CLUSTERS}, "prefix_mask": "causal"}
    recipe.train_llm("u_frozen", *more, source="units", **settings)
    recipe.average("u_frozen")
    start = ["--init_from", str(recipe.root / "u_frozen")]
    experiment: Path = recipe.train_llm("u", *more, *start, source="units", llm_conf=recipe.lora, **settings)
    recipe.average("u")
    return experiment


def test_the_cache_holds_the_units_that_the_network_computes(recipe: Any, units: Path) -> None:
    network = load_experiment(units).network
    dump, cache = (read_data_dir(recipe.root / "test" / kind) for kind in ("dump", "units"))
    seen: set[int] = set()
    for utterance, place in dump.table("feats.scp").items():
        features = torch.from_numpy(read_matrix(place).copy())[None]
        with torch.no_grad():
            expected = network.compress(Features(features, torch.tensor([features.shape[1]]))).vectors[0]
        cached = torch.from_numpy(read_matrix(cache.table("compressed.scp")[utterance]).copy())
        assert cached.dtype == torch.int32 and torch.equal(cached.long(), expected)
        seen |= set(cached.tolist())
    assert 2 < len(seen) <= NUM_CLUSTERS and seen <= set(range(NUM_CLUSTERS))


def test_embeddings_and_lora_are_all_that_trains_on_units(recipe: Any, units: Path) -> None:
    first, second = recipe.load(recipe.root / "u_frozen/model.pth"), recipe.load(units / "model.pth")
    table = "network.audio_encoder.table.weight"
    assert set(first) == {table, "network.base_fingerprint"}
    assert first[table].shape[0] == NUM_CLUSTERS
    assert all("lora_" in name for name in set(second) - set(first))
    assert not torch.equal(first[table], second[table])


def test_a_packed_model_of_units_decodes_as_the_experiment(recipe: Any, units: Path, tmp_path: Path) -> None:
    assert len(recipe.decode("u", "units", "u/decoded")) == 6
    pack.main(["--exp_dir", str(units), "--output", str(tmp_path / "u.zip"), "--include_llm", "true"])
    translate = Speech2Text.from_pretrained(tmp_path / "u.zip")
    assert translate.settings["centroids_file"] == str(tmp_path / "u.unpacked/centroids.npz")
    own = Speech2Text.from_pretrained(units)
    recipe.assert_same_texts(translate, own)
    recipe.assert_same_segments(translate, own)


def test_other_units_than_the_model_was_trained_on_are_refused(recipe: Any, units: Path, tmp_path: Path) -> None:
    other = tmp_path / "centroids.npz"
    learn_units.main(
        ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "train/dump")]
        + ["--compressor_conf", UNITS, "--seed", "2", "--output_file", str(other)]
    )
    shutil.copytree(units, tmp_path / "u")
    settings = yaml.safe_load((units / "config.yaml").read_text())
    (tmp_path / "u/config.yaml").write_text(yaml.safe_dump({**settings, "centroids_file": str(other)}))
    with pytest.raises(ValueError, match="model.pth: this checkpoint was trained on another base model"):
        load_experiment(tmp_path / "u")
    with pytest.raises(ValueError, match=r"test/compressed: compressed by .*frame_average.*the model expects .*units"):
        recipe.decode("u", "compressed", "u/decoded_wrong")
    with pytest.raises(FileNotFoundError, match="no centroids of the units; run stage `compress` or"):
        recipe.train_llm("u_wrong", source="units", compressor="units", compressor_conf={"num_clusters": NUM_CLUSTERS})
    with pytest.raises(ValueError, match=r"the centroids are 12 of width 16, .* expect 9 of width 16"):
        file = ["--centroids_file", str(recipe.root / "centroids.npz")]
        recipe.train_llm("u_wrong", *file, source="units", compressor="units", compressor_conf={"num_clusters": 9})
