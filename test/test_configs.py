"""Every YAML of the recipes builds the network it describes, with options that the trainers know."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.config import from_mapping
from speechllama.llm.record import prepare_llm
from speechllama.llm.scratch_llm import LlamaConfig, llama_shape, make_scratch_llm
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.build import build_speech_llama
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.encoders import choose_encoder
from speechllama.model.meta_model import EncoderShape, meta_speech_llama, num_parameters, read_architecture
from speechllama.model.speech_llama import SpeechLlama
from speechllama.train.options import check_keys
from test.recipe_configs import EGS, OWN_LLMS, SIZES, load, write_merged

PAPER = ("covost2", "")
SHAPES = EGS / "covost2" / "conf" / "llm"
# Who starts from whom, how audio is shortened, who sees whom, whether LoRA is on: the table of systems in README.
SYSTEMS = {
    "e0": (None, "convolution", "causal", "frozen"),
    "e1": (None, "blank_removal", "causal", "frozen"),
    "e2": (None, "blank_removal", "non_causal", "frozen"),
    "e3": (None, "frame_average", "causal", "frozen"),
    "e4": ("e3", "frame_average", "causal", "lora"),
    "e5": (None, "frame_average", "non_causal", "frozen"),
    "e6": ("e5", "frame_average", "non_causal", "lora"),
}
# The same of what is compared with them.
ON_OTHERS = ("b2", "b2_unprompted", "cascade", "cascade_e6")  # which train nothing of their own
OTHERS = {
    "e6_r8": ("e5", "frame_average", "non_causal", "lora"),
    "e6_r32": ("e5", "frame_average", "non_causal", "lora"),
    "e6_text": ("e5", "frame_average", "non_causal", "lora"),
    "e5_quarter": (None, "frame_average", "non_causal", "frozen"),
    "e5_distilled": (None, "frame_average", "non_causal", "frozen"),
    "e5_kl": (None, "frame_average", "non_causal", "frozen"),
    "e6_kl": ("e5_kl", "frame_average", "non_causal", "lora"),
    "d": (None, "none", "non_causal", "full"),
    "d_causal": (None, "none", "causal", "full"),
    "u_frozen": (None, "units", "causal", "frozen"),
    "u": ("u_frozen", "units", "causal", "lora"),
    "l_frozen": (None, "posteriors", "causal", "frozen"),
    "l": ("l_frozen", "posteriors", "causal", "lora"),
    "l_r32": ("l_frozen", "posteriors", "causal", "lora"),
    "l_gate_frozen": (None, "posteriors", "causal", "frozen"),
    "l_gate": ("l_gate_frozen", "posteriors", "causal", "lora"),
}
RANKS = {"e4": 2, "e6": 2, "e6_r8": 8, "e6_r32": 32, "e6_text": 2, "e6_kl": 2, "u": 2, "l": 2, "l_r32": 32, "l_gate": 2}
NUM_UNITS = 11  # of the CTC encoder that the test makes
# Variant of E5 or E6 -> how it differs: the LLM's settings, the parameters of LoRA with LLaMA-7B, where it starts.
# LoRA of rank r on a layer of a x b has r (a + b): q, k, v, o are 4096 x 4096, gate, up, down 4096 x 11008; 32 layers.
VARIANTS: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "e6_r8": ({}, 32 * 8 * 4 * 8192, "e5"),
    "e6_r32": ({}, 32 * 32 * 4 * 8192, "e5"),
    "e6_all": ({}, 32 * 8 * (4 * 8192 + 3 * 15104), "e5"),
    "e5_8bit": ({"quantize": "8bit", "gradient_checkpointing": True}, 0, None),
    "e5_4bit": ({"quantize": "4bit", "gradient_checkpointing": True}, 0, None),
    "e6_8bit": ({"quantize": "8bit", "gradient_checkpointing": True}, 32 * 2 * 4 * 8192, "e5_8bit"),
    "e6_4bit": ({"quantize": "4bit", "gradient_checkpointing": True}, 32 * 2 * 4 * 8192, "e5_4bit"),
}
# Shape of an LLM -> its parameters, as its page on the hub gives them.
LLMS = {
    "llama_7b": 6_738_415_616,
    "llama_3.1_8b": 8_030_261_248,
    "qwen2.5_7b": 7_615_616_512,
    "tinyllama_1.1b": 1_100_048_384,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Path:
    """What training is built on: llm/, cmvn.npz, and for each recipe and size a CTC experiment, not trained."""
    folder = tmp_path_factory.mktemp("base")
    prepare_llm(str(tiny_llm), None, folder / "llm")
    np.savez(folder / "cmvn.npz", mean=np.zeros(80), std=np.ones(80))
    for recipe, size in SIZES:
        config = encoder_config(recipe, size)
        experiment = folder / recipe / size / "ctc"
        experiment.mkdir(parents=True)
        settings = {"encoder_conf": dataclasses.asdict(config), "num_units": NUM_UNITS}
        (experiment / "config.yaml").write_text(yaml.safe_dump(settings))
        torch.save(CTCEncoder(config, NUM_UNITS).state_dict(), experiment / "model.pth")
        num_clusters = load(recipe, size, "u").settings["compressor_conf"]["num_clusters"]
        np.savez(experiment / "centroids.npz", centroids=np.zeros((num_clusters, config.transformer.dim)))
        sizes = from_mapping(LlamaConfig, load(recipe, size, "decoder").settings, "decoder.yaml")
        make_scratch_llm(sizes, ["The dog sleeps.", "The old woman drinks."], folder / recipe / size / "decoder")
    return folder


def encoder_config(recipe: str, size: str) -> CTCEncoderConfig:
    """Return the encoder that a recipe's ctc.yaml describes."""
    return from_mapping(CTCEncoderConfig, load(recipe, size, "ctc").settings["encoder_conf"], "ctc.yaml: encoder_conf")


def build(recipe: str, size: str, system: str, base: Path) -> SpeechLlama:
    """Build the network of a recipe's system."""
    folder = base / recipe / size
    settings = {**load(recipe, size, system).settings, "llm_dir": str(base / "llm")}
    if system in ("e0", "d", "d_causal"):
        settings["cmvn_file"] = str(base / "cmvn.npz")
    else:
        settings["ctc_dir"] = str(folder / "ctc")
    if settings.get("scratch_llm"):
        settings["llm_dir"] = str(folder / settings["scratch_llm"])
    settings["centroids_file"] = str(folder / "ctc" / "centroids.npz")
    return build_speech_llama(settings, f"{system}.yaml")


def test_every_yaml_of_the_recipes_is_read_by_these_tests() -> None:
    names = [(*at, name) for at in SIZES for name in ("ctc", "decoder", *SYSTEMS, *OTHERS, "b1", *ON_OTHERS)]
    names += [(*PAPER, variant) for variant in VARIANTS]
    names += [(*at, "llm") for at in OWN_LLMS]
    read = {path.resolve() for name in names for path in load(*name).files}
    ours = {"TEMPLATE", *(recipe for recipe, _ in SIZES)}  # of others, see test_own_recipes.py
    found = {path for name in ours for path in EGS.glob(f"{name}/conf/**/*.yaml")}
    front_ends = set(EGS.glob("*/conf/frontend/*.yaml"))  # see test/frontend/test_front_end_configs.py
    assert sorted(found - read - front_ends) == [] and read <= found
    assert not [path for path in EGS.glob("*/conf/**/*") if path.is_symlink()]


@pytest.mark.parametrize(("recipe", "size"), SIZES)
@pytest.mark.parametrize("system", [*SYSTEMS, *OTHERS])
def test_every_system_builds_as_the_paper_describes_it(recipe: str, size: str, system: str, base: Path) -> None:
    init_system, compressor, prefix_mask, llm = (SYSTEMS | OTHERS)[system]
    network = build(recipe, size, system, base)
    config = network.config
    assert load(recipe, size, system).settings.get("init_system") == init_system
    assert (config.compressor.record.name, config.prefix_mask, config.llm.train) == (compressor, prefix_mask, llm)
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    expected = {"audio_encoder"}
    if system == "e0":
        expected |= {"encoder", "compressor"}
    if llm == "lora":
        expected |= {"llm"}
        rank = config.llm.lora.rank
        assert rank == RANKS[system]
        assert config.llm.lora.alpha / rank == 2.0  # the same scale at every rank
    if llm == "full":
        expected |= {"encoder", "llm"}
        assert config.llm.random_weights and not config.freeze_encoder
        assert network.encoder.dim == config.audio_encoder.dim
        assert config.encoder.settings.transformer.num_layers == config.audio_encoder.num_layers == 0
        assert all(parameter.requires_grad for parameter in network.parameters())
    assert trained == expected
    if compressor == "posteriors":
        own = {name.split(".")[0]: weight.requires_grad for name, weight in network.audio_encoder.named_parameters()}
        small = {"table": False, "log_temperature": True, "scale": True, "shift": True}
        assert own == ({**small, "gate": True, "audio_encoder": True} if "gate" in system else small)


@functools.cache
def meta_system(system: str, llm: str) -> SpeechLlama:
    """Build a system at the paper's size on an LLM of that shape, without weights."""
    choice = choose_encoder(load(*PAPER, "ctc").settings, "ctc.yaml")
    ctc = None if system == "e0" else EncoderShape(choice, NUM_UNITS)
    settings = load(*PAPER, system).settings
    return meta_speech_llama(settings, f"{system}.yaml", read_architecture(SHAPES / f"{llm}.json"), ctc)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_has_the_papers_numbers_with_llama_7b(system: str) -> None:
    network = meta_system(system, "llama_7b")
    head = dict(network.encoder.named_children()).get("head")
    encoder = num_parameters(network.encoder) - (0 if head is None else num_parameters(head))
    # arXiv 2307.03917, section 4: 15.8 M, 14.7 M and, for E4 and E6, 2.1 M
    assert round(encoder / 1e6, 1) == 15.8
    assert round(num_parameters(network.audio_encoder) / 1e6, 1) == 14.7
    adapters = num_parameters(network.llm, trainable_only=True)
    assert round(adapters / 1e6, 1) == (2.1 if system in ("e4", "e6") else 0.0)
    assert num_parameters(network.llm) - adapters == LLMS["llama_7b"]
    assert all(weight.is_meta for weight in network.parameters())
    assert network.llm.base_dtype == torch.bfloat16


@pytest.mark.parametrize("system", ["l_frozen", "l", "l_gate"])
def test_the_posteriors_of_the_papers_size_train_little(system: str) -> None:
    network = meta_system(system, "llama_7b")
    trained = num_parameters(network.audio_encoder, trainable_only=True)
    small = 1 + 2 * 4096  # a temperature; a scale and a shift of each number of an embedding
    gated = num_parameters(meta_system("e5", "llama_7b").audio_encoder) + 1
    assert trained == small + (gated if system == "l_gate" else 0)
    assert num_parameters(network.audio_encoder) - trained == NUM_UNITS * 4096
    assert num_parameters(network.llm, trainable_only=True) == (0 if system == "l_frozen" else 32 * 2 * 4 * 8192)


@pytest.mark.parametrize("system", ["d", "d_causal"])
def test_the_decoder_from_scratch_has_the_papers_size(system: str) -> None:
    settings = load(*PAPER, system).settings
    sizes = from_mapping(LlamaConfig, load(*PAPER, settings["scratch_llm"]).settings, "decoder.yaml")
    assert sizes == LlamaConfig()
    network = meta_speech_llama(settings, system, llama_shape(sizes, sizes.vocab_size), None)
    llama = network.llm.model.config
    assert (llama.num_hidden_layers, llama.hidden_size, llama.num_attention_heads) == (12, 768, 12)
    layer = 4 * 768 * 768 + 3 * 768 * 3072 + 2 * 768  # attention, SwiGLU, two norms
    front = 256 * (9 + 1) + 256 * (256 * 9 + 1) + 768 * (5120 + 1) + 768 * (768 + 1) + 2 * 768
    count = num_parameters(network, trainable_only=True)
    assert count == num_parameters(network) == 12 * layer + 768 + 2 * 16000 * 768 + front
    assert count == pytest.approx(150e6, rel=0.06)  # the paper's class
    assert 1 - count / 240e6 == pytest.approx(0.4, abs=0.02)  # "about 40 % fewer" than its seq2seq model


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_differs_as_its_name_says(variant: str) -> None:
    settings, adapters, init_system = VARIANTS[variant]
    network = meta_system(variant, "llama_7b")
    plain = meta_system(variant[:2], "llama_7b")
    assert num_parameters(network.llm, trainable_only=True) == adapters
    found, expected = (dataclasses.asdict(each.config.llm) for each in (network, plain))
    assert {name: found[name] for name in found if name != "lora" and found[name] != expected[name]} == settings
    assert found["lora"]["alpha"] / found["lora"]["rank"] == 2.0  # the scale of the update is that of E6
    assert dataclasses.replace(network.config, llm=plain.config.llm) == plain.config
    assert load(*PAPER, variant).settings.get("init_system") == init_system


@pytest.mark.parametrize("llm", LLMS)
def test_every_llm_builds_e6_from_its_shape(llm: str) -> None:
    network = meta_system("e6", llm)
    adapters = num_parameters(network.llm, trainable_only=True)
    assert num_parameters(network.llm) - adapters == LLMS[llm]
    assert 0 < adapters < 3e6
    assert isinstance(network.audio_encoder, AudioEncoder)
    assert network.audio_encoder.projection.out_features == network.llm.dim
    assert sorted(path.stem for path in SHAPES.iterdir()) == sorted(LLMS)


@pytest.mark.parametrize(("recipe", "size"), SIZES)
def test_the_encoder_of_the_convolution_system_is_as_large_as_that_of_ctc(recipe: str, size: str) -> None:
    settings = load(recipe, size, "e0").settings
    assert from_mapping(CTCEncoderConfig, settings["encoder_conf"], "e0") == encoder_config(recipe, size)


@pytest.mark.parametrize(("recipe", "size"), SIZES)
def test_the_trainers_know_every_key(recipe: str, size: str, tmp_path: Path) -> None:
    from speechllama.train.ctc import CTCTask
    from speechllama.train.speech_llama import SpeechLlamaTask

    known = {action.dest for action in SpeechLlamaTask.get_parser()._actions}
    for system in (*SYSTEMS, *OTHERS, *(VARIANTS if (recipe, size) == PAPER else ())):
        check_keys(["--config", str(write_merged(recipe, size, system, tmp_path))], known)
    ctc = {action.dest for action in CTCTask.get_parser()._actions}
    check_keys(["--config", str(write_merged(recipe, size, "ctc", tmp_path))], ctc)
    with pytest.raises(ValueError, match="unknown key .audio_encoder_conf.*did you mean .encoder_conf."):
        check_keys(["--config", str(write_merged(recipe, size, "e6", tmp_path))], ctc)


# Millions of parameters of a recipe's own LLM, its embeddings counted once: "a LLaMA of 10 to 100 M" for the GPU.
@pytest.mark.parametrize(("own", "least", "most"), list(zip(OWN_LLMS, (0, 10, 0), (3, 100, 3), strict=True)))
def test_the_recipes_own_llm_has_the_size_of_its_machine(own: tuple[str, str], least: float, most: float) -> None:
    config = from_mapping(TextLLMConfig, load(*own, "llm").settings, "llm.yaml")
    assert config.width % config.num_heads == 0
    layers = config.num_layers * config.width * (4 * config.width + 3 * config.ffn_dim)
    assert least < (layers + config.vocab_size * config.width) / 1e6 < most
