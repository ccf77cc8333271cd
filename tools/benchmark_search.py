#!/usr/bin/env python3
"""Time of the search with an option next to the same search without, in one run on one thread.

    penalties               | beam 4
    8 samples               | beam 4
    temperature and top-p   | 8 samples
    minimum Bayes risk      | 8 samples

The two sides run in turn; see tools/benchmark.py, whose small LLaMA with random weights this is. Every text has as many
tokens as any other, so that the sides differ in nothing but the option.

    python3 tools/benchmark_search.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tool also runs where the package is not installed

from tools import benchmark
from tools.pairs import Pairs, alternate

NUM_TOKENS = 20
SHARPNESS = 20.0  # of the logits: as sure of itself as a trained model
# Settings of a search, and of the one that it is compared with.
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"beam_size": 4, "no_repeat_ngram_size": 4}, {"beam_size": 4}),
    ({"beam_size": 4, "repetition_penalty": 1.2}, {"beam_size": 4}),
    ({"num_samples": 8}, {"beam_size": 4}),
    ({"num_samples": 8, "temperature": 0.7, "top_p": 0.9}, {"num_samples": 8}),
    ({"num_samples": 8, "mbr": "chrf"}, {"num_samples": 8}),
]


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each side, after one that is not")
    return parser


def main() -> None:
    """Compare all of them."""
    args = get_parser().parse_args()
    import torch
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{versions}, one thread, {benchmark.NUM_UTTERANCES} utterances of {NUM_TOKENS} tokens, ", end="")
    print(f"medians of {args.repeats} runs\n")
    print("| search | next to | its time | the other's | ratio |\n|---|---|---|---|---|", flush=True)
    for options, without in OPTIONS:
        pairs = compare(options, without, args.repeats)
        ours, other = (f"{statistics.median(seconds) * 1e3:.1f} ms" for seconds in pairs)
        print(f"| {name(options)} | {name(without)} | {ours} | {other} | {pairs.ratio(is_faster=False)} |", flush=True)


def name(settings: dict[str, Any]) -> str:
    """Name a search by its options."""
    return ", ".join(f"`{option}` {value}" for option, value in settings.items())


def compare(options: dict[str, Any], without: dict[str, Any], repeats: int) -> Pairs:
    """Time two searches on the same prefixes; a text is the words of its tokens."""
    import torch

    from speechllama.decode.risk import chrf_utility, order_by_risk
    from speechllama.decode.search import LLMSearch, SearchConfig
    from speechllama.decode.speech2text import Translation

    network, batch, _, _ = benchmark.build_network(62, benchmark.small_llama())
    llm = network.llm.eval()
    llm.eos_token_id = -2  # no token ends a text
    with torch.no_grad():
        llm.model.get_output_embeddings().weight.mul_(SHARPNESS)
        prefix = network.eval().embed_prefix(batch)
    limits = torch.full((benchmark.NUM_UTTERANCES,), NUM_TOKENS)
    names = [str(row) for row in range(benchmark.NUM_UTTERANCES)]

    def decode(settings: dict[str, Any]) -> list[list[Translation]]:
        config = SearchConfig(**settings)
        found = LLMSearch(llm, "causal", config)(prefix, limits, names)
        texts = [[Translation(" ".join(map(hex, entry.tokens)), *entry) for entry in nbest] for nbest in found]
        return texts if config.mbr == "none" else [order_by_risk(nbest, config, chrf_utility()) for nbest in texts]

    assert {len(nbest[0].tokens) for nbest in decode(options)} == {NUM_TOKENS}
    return alternate(lambda: decode(options), lambda: decode(without), repeats)


if __name__ == "__main__":
    main()
