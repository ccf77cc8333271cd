"""Options of the search, as every command that decodes has them; their defaults are those of SearchConfig.

command line -> settings by name
"""

from __future__ import annotations

import argparse
from typing import Any

from speechllama.decode.search_config import default_of

SEARCH_OPTIONS: dict[str, tuple[type | tuple[str, ...], str]] = {  # name -> type, or the words it takes; help
    "beam_size": (int, "1 is greedy search"),
    "nbest": (int, "hypotheses kept per utterance"),
    "length_penalty": (float, "score = log-probability / length ** this"),
    "max_tokens": (int, "most tokens of an utterance, however long it is"),
    "tokens_per_second": (float, "most tokens per second of audio"),
    "min_tokens": (int, "limit that even the shortest audio gets"),
    "repetition_penalty": (float, "above 1: tokens that the text has already become less likely"),
    "no_repeat_ngram_size": (int, "no n-gram of so many tokens comes twice in a text; 0: any may"),
    "num_samples": (int, "texts drawn at random in place of a beam; 0: search with the beam"),
    "temperature": (float, "of sampling: below 1, likely tokens become likelier"),
    "top_k": (int, "of sampling: only so many of the likeliest tokens; 0: all"),
    "top_p": (float, "of sampling: only the likeliest tokens that together have this probability"),
    "sample_seed": (int, "of sampling: the same seed draws the same texts"),
    "mbr": (("none", "chrf", "bleu"), "minimum Bayes risk: choose the text that the others resemble most by this"),
    "mbr_weights": (("uniform", "posterior"), "of mbr: how much each text counts: the same, or as probable as it is"),
    "ctc_weight": (float, "encoder-decoder: share of CTC in the score; as in training"),
}


def add_search_options(parser: argparse.ArgumentParser, keeps_packed: bool = False) -> None:
    """Options of the search; with `keeps_packed` without defaults, so that those of a packed model hold."""
    group = parser.add_argument_group("search", "each as the model was packed with, unless given" * keeps_packed)
    for name, (kind, text) in SEARCH_OPTIONS.items():
        default = argparse.SUPPRESS if keeps_packed else default_of(name)
        if isinstance(kind, tuple):
            group.add_argument(f"--{name}", choices=kind, default=default, help=text)
        else:
            group.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")


def given_search(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the search that are on the command line."""
    return {name: value for name, value in vars(args).items() if name in SEARCH_OPTIONS}
