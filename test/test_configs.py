"""Every YAML of the recipes builds the network it describes, with options that the trainers know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from speechllama.model.build import build_speech_llama
from speechllama.model.config import from_mapping
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.llm_record import prepare_llm
from speechllama.model.speech_llama import SpeechLlama
from speechllama.tasks.config_file import check_keys, read_config
from speechllama.tasks.text_llm import TextLLMConfig

EGS = Path(__file__).resolve().parents[1] / "egs"
FOLDERS = ["covost2/conf/small", "mini_covost2/conf"]
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
NUM_UNITS = 11  # of the CTC encoder that the test makes
BASES = ("ctc.yaml", "train.yaml", "lora.yaml")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Path:
    """What training stands on: llm/, cmvn.npz, and for each folder of configs a CTC experiment, not trained."""
    folder = tmp_path_factory.mktemp("base")
    prepare_llm(str(tiny_llm), None, folder / "llm")
    np.savez(folder / "cmvn.npz", mean=np.zeros(80), std=np.ones(80))
    for name in FOLDERS:
        config = encoder_config(EGS / name / "ctc.yaml")
        (folder / name).mkdir(parents=True)
        settings = {"encoder_conf": dataclasses.asdict(config), "num_units": NUM_UNITS}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(settings))
        torch.save(CTCEncoder(config, NUM_UNITS).state_dict(), folder / name / "model.pth")
    return folder


def encoder_config(path: Path) -> CTCEncoderConfig:
    """The encoder that a ctc.yaml describes."""
    return from_mapping(CTCEncoderConfig, read_config(path)["encoder_conf"], f"{path}: encoder_conf")


def build(folder: str, system: str, base: Path) -> SpeechLlama:
    """The network of a recipe's system."""
    path = EGS / folder / f"{system}.yaml"
    settings = {**read_config(path), "llm_dir": str(base / "llm")}
    if system == "e0":
        settings["cmvn_file"] = str(base / "cmvn.npz")
    else:
        settings["ctc_dir"] = str(base / folder)
    return build_speech_llama(settings, str(path))


def test_every_yaml_of_the_recipes_is_one_that_these_tests_build() -> None:
    baselines = {path for path in EGS.glob("*/conf/**/b*.yaml")}  # of these speaks test_seq2seq_configs.py
    paths = set(EGS.glob("*/conf/**/*.yaml")) - baselines
    found = sorted(path.relative_to(EGS) for path in paths if path.parts[-3] != "TEMPLATE")
    expected = [
        Path(folder, name) for folder in FOLDERS for name in (*BASES, *(f"{system}.yaml" for system in SYSTEMS))
    ]
    assert found == sorted([*expected, Path("mini_covost2/conf/llm.yaml")])
    assert len(found) == 21
    assert len(list(EGS.glob("TEMPLATE/conf/e*.yaml"))) == 7  # the recipes' systems are links to these


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_builds_as_the_paper_describes_it(folder: str, system: str, base: Path) -> None:
    init_system, compressor, prefix_mask, llm = SYSTEMS[system]
    network = build(folder, system, base)
    config = network.config
    assert read_config(EGS / folder / f"{system}.yaml").get("init_system") == init_system
    assert (config.compressor.name, config.prefix_mask, config.llm.train) == (compressor, prefix_mask, llm)
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    expected = {"audio_encoder"}
    if system == "e0":
        expected |= {"encoder", "compressor"}
    if llm == "lora":
        expected |= {"llm"}
    assert trained == expected


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_encoder_of_the_convolution_system_is_as_large_as_that_of_ctc(folder: str) -> None:
    settings = read_config(EGS / folder / "e0.yaml")
    assert from_mapping(CTCEncoderConfig, settings["encoder_conf"], "e0") == encoder_config(EGS / folder / "ctc.yaml")


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_trainers_know_every_key(folder: str) -> None:
    from speechllama.tasks.ctc import CTCTask
    from speechllama.tasks.speech_llama import SpeechLlamaTask

    known = {action.dest for action in SpeechLlamaTask.get_parser()._actions}
    for system in SYSTEMS:
        check_keys(["--config", str(EGS / folder / f"{system}.yaml")], known)
    ctc = {action.dest for action in CTCTask.get_parser()._actions}
    check_keys(["--config", str(EGS / folder / "ctc.yaml")], ctc)
    with pytest.raises(ValueError, match="unknown key .audio_encoder_conf.*did you mean .encoder_conf."):
        check_keys(["--config", str(EGS / folder / "e6.yaml")], ctc)


def test_the_text_llm_of_the_mini_recipe_is_a_small_one() -> None:
    path = EGS / "mini_covost2" / "conf" / "llm.yaml"
    config = from_mapping(TextLLMConfig, read_config(path), str(path))
    assert config.width % config.num_heads == 0
    assert config.num_layers * config.width * (4 * config.width + 3 * config.ffn_dim) < 3_000_000
