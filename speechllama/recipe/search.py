"""The search of a run's decode stage, read before anything runs, so that a wrong setting does not wait for it.

--beam_size, --decode_options -> SearchConfig
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from speechllama.decode.search_config import SearchConfig
from speechllama.decode.search_options import add_search_options, given_search
from speechllama.options import UsageError, split_further
from speechllama.recipe.options import Options
from speechllama.recipe.system import Selection

OF_JOINT_SEARCH = "ctc_weight"


class _Parser(argparse.ArgumentParser):
    """A parser that raises where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"--decode_options: {message}")


def read_search(options: Options, selection: Selection) -> SearchConfig:
    """Read the settings of the search, without those that only an encoder-decoder has.

    Raises:
        UsageError: There is no such option, its value is wrong, settings contradict each other, or the system cannot do
            this search.
    """
    parser = _Parser(prog="decode", add_help=False, allow_abbrev=False)
    add_search_options(parser)
    beam = ["--beam_size", str(options.beam_size), "--nbest", str(options.beam_size)]
    values = given_search(parser.parse_args([*beam, *split_further(options.decode_options)]))
    ctc_weight, system = values.pop(OF_JOINT_SEARCH), selection.system
    if ctc_weight is not None and not system.is_seq2seq:
        raise UsageError(f"--decode_options: --ctc_weight is for encoder-decoders, and {system.name} is none")
    try:
        config = SearchConfig(**values)
    except ValueError as error:
        raise UsageError(f"--decode_options: {error}") from error
    if config.mbr != "none" and selection.rescoring:
        raise UsageError(
            f"--decode_options: --mbr {config.mbr}: {selection.name} chooses by the LLM's score; leave --mbr out"
        )
    if config.mbr == "bleu" and system.is_seq2seq:
        raise UsageError(
            f"--decode_options: --mbr bleu: {system.name} does not know in which language it writes, so BLEU has no "
            "tokenizer; take --mbr chrf"
        )
    return config
