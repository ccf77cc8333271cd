"""The YAMLs of the baselines: B1 builds at every size, B2 says what it rescores and how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechllama.config import from_mapping
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.seq2seq import Seq2Seq, Seq2SeqConfig
from speechllama.rescore.rescoring import read_rescoring_config
from speechllama.train.options import check_keys
from speechllama.train.seq2seq import Seq2SeqTask, make_parts
from test.recipe_configs import SIZES, load, write_merged

# Units (with blank) and parameters of B1 in each of SIZES.
NETWORKS = (
    *((16001, 240e6), (121, 1.96e6), (121, 1.96e6), (4001, 66e6), (121, 1.96e6)),
    *((4001, 66e6), (301, 2.03e6)),
)


def count(recipe: str, size: str, num_units: int) -> int:
    """Count the parameters of a recipe's B1."""
    config = from_mapping(Seq2SeqConfig, load(recipe, size, "b1").settings["network_conf"], "b1.yaml")
    with torch.device("meta"):
        network = Seq2Seq(config, num_units, make_parts(config, num_units))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("at", "network"), list(zip(SIZES, NETWORKS, strict=True)))
def test_the_encoder_decoder_has_its_size_and_the_trainer_knows_every_key(
    at: tuple[str, str], network: tuple[int, float], tmp_path: Path
) -> None:
    num_units, expected = network
    assert count(*at, num_units) == pytest.approx(expected, rel=0.05)
    known = {action.dest for action in Seq2SeqTask.get_parser()._actions}
    check_keys(["--config", str(write_merged(*at, "b1", tmp_path))], known)


def test_the_mini_baseline_is_as_large_as_the_mini_systems_with_their_llm() -> None:
    settings = load("mini_covost2", "", "ctc").settings["encoder_conf"]
    encoder = CTCEncoder(from_mapping(CTCEncoderConfig, settings, "ctc.yaml"), 121)
    ctc = sum(parameter.numel() for parameter in encoder.parameters())
    llm = from_mapping(TextLLMConfig, load("mini_covost2", "", "llm").settings, "llm.yaml")
    layers = llm.num_layers * llm.width * (4 * llm.width + 3 * llm.ffn_dim)
    audio_encoder = 414_084  # as the training of E5 logs it
    whole = ctc + audio_encoder + layers + llm.vocab_size * llm.width
    assert count("mini_covost2", "", 121) == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(("recipe", "size"), SIZES)
@pytest.mark.parametrize(("name", "prompted"), [("b2", True), ("b2_unprompted", False)])
def test_rescoring_is_built_on_the_encoder_decoder_of_the_same_recipe(
    recipe: str, size: str, name: str, prompted: bool
) -> None:
    settings = load(recipe, size, name).settings
    assert settings["rescore_system"] == "b1"
    config, _ = read_rescoring_config(settings, name)
    assert config.prompted is prompted and 0.0 in config.weights
