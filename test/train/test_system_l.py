"""System L (CTC posteriors in the LLM's embeddings) through its cache, training, decoding and packing, on noise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import pack
from speechllama.data.ark import read_matrix
from speechllama.data.data_dir import read_data_dir
from speechllama.decode.experiment import load_experiment
from speechllama.decode.speech2text import Speech2Text
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import read_llm_record
from speechllama.llm.spelling import spell
from speechllama.model.audio import Features
from speechllama.model.posteriors import PosteriorEmbedding
from speechllama.text.tokenizer import CTCTokenizer, train_tokenizer
from speechllama.train.start import spell_units
from test.trained_recipe import hidden

NUM_BEST = 5
SMALL = {"table", "log_temperature", "scale", "shift"}  # what an embedding of posteriors is
SETTINGS: dict[str, Any] = {"compressor": "posteriors", "prefix_mask": "non_causal"}


def train(recipe: Any, name: str, *more: str, keep_states: bool = False, **settings: Any) -> Path:
    """Train on the posteriors' cache and average; `settings` are the YAML's."""
    conf = {"num_best": NUM_BEST, "keep_states": keep_states}
    source = "posterior_states" if keep_states else "posteriors"
    values = {**SETTINGS, "compressor_conf": conf, **settings}
    experiment: Path = recipe.train_llm(name, *more, source=source, **values)
    recipe.average(name)
    return experiment


@pytest.fixture(scope="module")
def system(recipe: Any) -> Path:
    """L: its caches with and without states, l_frozen, then LoRA."""
    for part in ("train", "dev", "test"):
        for name, keep in (("posteriors", "false"), ("posterior_states", "true")):
            conf = f"{{num_best: {NUM_BEST}, keep_states: {keep}}}"
            recipe.compress(part, "--compressor", "posteriors", "--compressor_conf", conf, name=name)
    train(recipe, "l_frozen")
    return train(recipe, "l", "--init_from", str(recipe.root / "l_frozen"), llm_conf=recipe.lora)


def names_of(path: Path) -> set[str]:
    """Tensors of a checkpoint, by their names in the audio encoder; others by their whole name."""
    state = torch.load(path, weights_only=True)
    return {name.removeprefix("network.").removeprefix("audio_encoder.") for name in state} - {"base_fingerprint"}


def test_the_cache_holds_what_the_network_computes(recipe: Any, system: Path) -> None:
    network = load_experiment(system).network
    dump, cache = (read_data_dir(recipe.root / "test" / kind) for kind in ("dump", "posteriors"))
    for utterance, place in dump.table("feats.scp").items():
        features = torch.from_numpy(read_matrix(place).copy())[None]
        with torch.no_grad():
            expected = network.compress(Features(features, torch.tensor([features.shape[1]]))).vectors[0]
        cached = torch.from_numpy(read_matrix(cache.table("compressed.scp")[utterance]).copy())
        assert cached.shape == (int(cache.table("utt2num_frames")[utterance]), 2 * NUM_BEST)
        torch.testing.assert_close(cached, expected, atol=1e-6, rtol=1e-4)
        assert (cached[:, :NUM_BEST] >= 1).all()  # 0 is blank


def test_the_table_is_the_llms_and_stays_so(recipe: Any, system: Path) -> None:
    network = load_experiment(system).network
    assert isinstance(network.audio_encoder, PosteriorEmbedding)
    tokenizer = load_tokenizer(*read_llm_record(str(recipe.root / "llm")))
    units = CTCTokenizer(recipe.root / "bpe/bpe.model")
    weight = network.llm.model.get_input_embeddings().weight
    assert len(network.audio_encoder.table) == units.num_units == len(units.texts)
    num_spelt = 0
    for row, text in zip(network.audio_encoder.table, units.texts, strict=True):
        tokens = spell(text, tokenizer)
        expected = weight[tokens].mean(0) if tokens else torch.zeros(network.llm.dim)
        torch.testing.assert_close(row, expected, atol=1e-6, rtol=1e-6)
        num_spelt += bool(tokens)
    assert num_spelt > units.num_units / 2


def test_what_trains_is_small_before_lora_and_moves(recipe: Any, system: Path) -> None:
    first, second = (recipe.load(path / "model.pth") for path in (recipe.root / "l_frozen", system))
    assert names_of(recipe.root / "l_frozen/model.pth") == SMALL
    assert all("lora_" in name for name in set(second) - set(first)) and set(second) > set(first)
    for name in SMALL:
        before, after = (state[f"network.audio_encoder.{name}"] for state in (first, second))
        assert before.any()  # all but the table start at zero
        assert torch.allclose(before, after, atol=1e-7) is (name == "table")


def test_a_gate_trains_with_an_audio_encoder(recipe: Any, system: Path) -> None:
    train(recipe, "l_gate_frozen", keep_states=True)
    state = recipe.load(recipe.root / "l_gate_frozen/model.pth")
    assert {name for name in names_of(recipe.root / "l_gate_frozen/model.pth") if "." not in name} == SMALL | {"gate"}
    assert state["network.audio_encoder.gate"].item() != pytest.approx(0.01, abs=1e-4)
    assert any(name.startswith("network.audio_encoder.audio_encoder.transformer") for name in state)
    assert len(recipe.decode("l_gate_frozen", "posterior_states", "l_gate_frozen/decoded")) == 6


def test_a_cache_serves_all_temperatures(recipe: Any, system: Path) -> None:
    conf = {"num_best": NUM_BEST, "temperature": 0.5}
    experiment = train(recipe, "l_sharp", compressor_conf=conf)
    settings = yaml.safe_load((experiment / "config.yaml").read_text())
    assert settings["compressor_conf"]["temperature"] == 0.5
    embedding = load_experiment(experiment).network.audio_encoder
    assert isinstance(embedding, PosteriorEmbedding) and embedding.temperature == 0.5


def test_the_temperature_may_be_changed_before_decoding(recipe: Any, system: Path) -> None:
    changed = recipe.root / "l_changed"
    shutil.copytree(system, changed, ignore=shutil.ignore_patterns("decoded*"))
    settings = yaml.safe_load((system / "config.yaml").read_text())
    settings["compressor_conf"]["temperature"] = 0.1
    (changed / "config.yaml").write_text(yaml.safe_dump(settings))
    networks = [load_experiment(path).network for path in (system, changed)]
    vectors = torch.tensor([[[1.0, 2, 3, 4, 5, 0.6, 0.2, 0.1, 0.05, 0.05]]])
    first, second = (network.audio_encoder(vectors, torch.tensor([1])) for network in networks)
    assert not torch.allclose(first, second)
    assert len(recipe.decode("l_changed", "posteriors", "l_changed/decoded")) == 6


def test_an_experiment_decodes_alike_from_cache_and_features(recipe: Any, system: Path) -> None:
    cached = recipe.decode("l", "posteriors", "l/decoded")
    assert len(cached) == 6 and cached == recipe.decode("l", "dump", "l/decoded_features")


def test_a_packed_model_needs_no_tokenizer_of_units(recipe: Any, system: Path, tmp_path: Path) -> None:
    own = Speech2Text.from_pretrained(system)
    pack.main(["--exp_dir", str(system), "--output", str(tmp_path / "l.zip"), "--include_llm", "true"])
    with hidden(recipe.root / "bpe"):
        packed = Speech2Text.from_pretrained(tmp_path / "l.zip")
    recipe.assert_same_texts(packed, own)
    recipe.assert_same_segments(packed, own)


def test_a_fully_trained_llm_keeps_the_embeddings_that_it_started_with(recipe: Any, system: Path) -> None:
    experiment = train(recipe, "l_full", "--max_epoch", "1", llm_conf={"train": "full"})
    name = "network.audio_encoder.table"
    tables = [recipe.load(path / "model.pth")[name] for path in (experiment, system)]
    torch.testing.assert_close(*tables)
    assert len(recipe.decode("l_full", "posteriors", "l_full/decoded")) == 6


def test_another_cache_is_refused(recipe: Any, system: Path) -> None:
    message = r"train/posteriors: compressed by .*'num_best': 5.* the model expects .*'num_best': 4"
    with pytest.raises(ValueError, match=message):
        recipe.train_llm("l_wrong", source="posteriors", **SETTINGS, compressor_conf={"num_best": 4})
    with pytest.raises(ValueError, match=r"test/compressed: compressed by .*frame_average.*expects .*posteriors"):
        recipe.decode("l", "compressed", "l/decoded_wrong")


def test_nothing_to_train_is_refused(recipe: Any, system: Path) -> None:
    with pytest.raises(ValueError, match="l_nothing: nothing is left to train .*train_audio_encoder: False"):
        train(recipe, "l_nothing", train_audio_encoder=False)


def test_units_without_their_tokenizer_or_with_another_are_refused(
    recipe: Any, system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = load_experiment(system).network
    llm_dir = str(recipe.root / "llm")
    shutil.copytree(recipe.root / "ctc", tmp_path / "ctc")
    config = tmp_path / "ctc/config.yaml"
    settings = yaml.safe_load(config.read_text())

    def use(tokenizer: Path) -> None:
        config.write_text(yaml.safe_dump({**settings, "tokenizer": str(tokenizer)}))
        network.audio_encoder.set_table(spell_units(str(tmp_path / "ctc"), llm_dir), network.llm)

    with pytest.raises(FileNotFoundError, match="gone.model: no such SentencePiece model; run the tokenizer stage"):
        use(tmp_path / "gone.model")
    train_tokenizer(["der hund", "la femme"], tmp_path / "few", 20)
    with pytest.raises(ValueError, match="CTC units have a text, the CTC encoder has .* units; its tokenizer is anoth"):
        use(tmp_path / "few/bpe.model")
    monkeypatch.setattr("speechllama.train.start.spell", lambda text, tokenizer: [])
    with pytest.raises(ValueError, match="has tokens for none of the CTC units; choose another LLM"):
        use(recipe.root / "bpe/bpe.model")
