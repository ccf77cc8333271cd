"""Which settings of a search are refused, and the options that set them."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import pytest

from speechllama.config import from_mapping
from speechllama.decode.joint_search import JointSearchConfig
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.search_options import SEARCH_OPTIONS, add_search_options, given_search


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"repetition_penalty": 0.0}, r"repetition_penalty 0\.0 must be positive"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty nan must be positive"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size -1 must not be negative"),
        ({"num_samples": -1}, "num_samples -1 .* must not be negative"),
        ({"num_samples": 2, "top_k": -1}, "top_k -1 must not be negative"),
        ({"num_samples": 2, "temperature": 0.0}, r"temperature 0\.0 must be positive"),
        ({"num_samples": 2, "top_p": 0.0}, r"top_p 0\.0 must lie above 0, 1 included"),
        ({"num_samples": 2, "top_p": 1.1}, r"top_p 1\.1 must lie above 0"),
        ({"temperature": 0.7}, r"temperature 0\.7 is for sampling, and must come with num_samples"),
        ({"top_k": 5}, "top_k 5 is for sampling"),
        ({"top_p": 0.9}, r"top_p 0\.9 is for sampling"),
        ({"sample_seed": 3}, "sample_seed 3 is for sampling"),
        ({"mbr": "comet"}, "mbr 'comet' must be none, chrf or bleu"),
        ({"mbr": "chrf", "mbr_weights": "score"}, "mbr_weights 'score' must be uniform or posterior"),
        ({"mbr_weights": "posterior"}, "mbr_weights posterior must come with mbr chrf or mbr bleu"),
        ({"mbr": "chrf", "beam_size": 1}, "mbr chrf chooses among several hypotheses: .* must be 2 or more"),
        ({"mbr": "bleu", "num_samples": 1}, "mbr bleu chooses among several hypotheses"),
        ({"num_samples": 8, "nbest": 9}, "nbest 9 must lie between 1 and beam_size 4, or num_samples 8"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchConfig(**settings)
    with pytest.raises(ValueError, match=words if "'" not in words else "mbr"):
        from_mapping(JointSearchConfig, settings, "search.json")


def test_the_recipe_may_ask_for_a_beam_and_for_samples() -> None:
    config = SearchConfig(beam_size=4, nbest=4, num_samples=2)  # stage decode always names its beam
    assert (config.num_hypotheses, config.num_found) == (2, 4)
    config = SearchConfig(beam_size=4, num_samples=16, mbr="chrf")
    assert (config.num_hypotheses, config.num_found) == (16, 16)
    assert (SearchConfig(beam_size=4, nbest=2).num_found, SearchConfig(beam_size=4, mbr="bleu").num_found) == (2, 4)


def test_every_setting_is_an_option_with_its_default() -> None:
    assert {*SEARCH_OPTIONS} == {*asdict(JointSearchConfig())} - {"num_proposed"}
    parser = argparse.ArgumentParser()
    add_search_options(parser)
    found = given_search(parser.parse_args([]))
    assert JointSearchConfig(**found) == JointSearchConfig()
    words = "--num_samples 16 --temperature 0.7 --top_p 0.9 --sample_seed 7 --mbr chrf --mbr_weights posterior"
    found = given_search(parser.parse_args(words.split()))
    assert JointSearchConfig(**found) == JointSearchConfig(
        num_samples=16, temperature=0.7, top_p=0.9, sample_seed=7, mbr="chrf", mbr_weights="posterior"
    )


def test_options_of_a_packed_model_are_only_those_that_are_given() -> None:
    parser = argparse.ArgumentParser()
    add_search_options(parser, keeps_packed=True)
    assert given_search(parser.parse_args(["--no_repeat_ngram_size", "4"])) == {"no_repeat_ngram_size": 4}
