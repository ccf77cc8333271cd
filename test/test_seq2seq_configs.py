"""The YAMLs of the baselines: B1 builds at every size, B2 says what it rescores and how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechllama.config import from_mapping, read_config
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.seq2seq import Seq2Seq, Seq2SeqConfig
from speechllama.rescore.rescoring import read_rescoring_config
from speechllama.train.options import check_keys
from speechllama.train.seq2seq import Seq2SeqTask, make_parts

EGS = Path(__file__).resolve().parents[1] / "egs"
# Folder -> units, parameters.
SIZES = {
    "covost2/conf": (16001, 240e6),
    "covost2/conf/small": (201, 2.55e6),
    "mini_covost2/conf": (121, 2.52e6),
    "tatoeba/conf": (4001, 66e6),
    "tatoeba/conf/small": (121, 2.52e6),
}


def count(folder: str, num_units: int) -> int:
    """Parameters of a recipe's B1."""
    path = EGS / folder / "b1.yaml"
    config = from_mapping(Seq2SeqConfig, read_config(path)["network_conf"], str(path))
    with torch.device("meta"):
        network = Seq2Seq(config, num_units, make_parts(config, num_units))
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_yaml_of_the_baselines_is_one_that_these_tests_know() -> None:
    names = ("b1.yaml", "b2.yaml", "b2_unprompted.yaml")
    found = [path for path in EGS.glob("*/conf/**/b*.yaml") if path.parts[-3] != "TEMPLATE"]
    assert sorted(found) == sorted(EGS / folder / name for folder in SIZES for name in names)
    assert len(found) == 15


@pytest.mark.parametrize("folder", SIZES)
def test_the_encoder_decoder_has_its_size_and_the_trainer_knows_every_key(folder: str) -> None:
    num_units, expected = SIZES[folder]
    assert count(folder, num_units) == pytest.approx(expected, rel=0.05)
    check_keys(["--config", str(EGS / folder / "b1.yaml")], {a.dest for a in Seq2SeqTask.get_parser()._actions})


def test_the_mini_baseline_is_as_large_as_the_mini_systems_with_their_llm() -> None:
    conf = EGS / "mini_covost2/conf"
    settings = from_mapping(CTCEncoderConfig, read_config(conf / "ctc.yaml")["encoder_conf"], "ctc.yaml")
    ctc = sum(parameter.numel() for parameter in CTCEncoder(settings, 121).parameters())
    llm = from_mapping(TextLLMConfig, read_config(conf / "llm.yaml"), "llm.yaml")
    layers = llm.num_layers * llm.width * (4 * llm.width + 3 * llm.ffn_dim)
    audio_encoder = 521_028  # of the README's results
    whole = ctc + audio_encoder + layers + llm.vocab_size * llm.width
    assert count("mini_covost2/conf", 121) == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize("folder", SIZES)
@pytest.mark.parametrize(("name", "prompted"), [("b2.yaml", True), ("b2_unprompted.yaml", False)])
def test_rescoring_stands_on_the_encoder_decoder_of_the_same_recipe(folder: str, name: str, prompted: bool) -> None:
    settings = read_config(EGS / folder / name)
    assert settings["rescore_system"] == "b1"
    config, _ = read_rescoring_config(settings, name)
    assert config.prompted is prompted and 0.0 in config.weights
