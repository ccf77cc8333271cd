#!/usr/bin/env python3
"""How likely an LLM finds texts after our prompt: with and without a start token, with and without a space before them.

    python3 tools/measure_prompt.py --llm DIR --pairs deu-eng.tsv.gz

DIR is a Hugging Face directory; the pairs are lines `English<TAB>other`. The other side stands where the audio will be.
The table is in Markdown: nats a token and a sentence, the end of sequence included. Fewer is better.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tool also runs where the package is not installed

SEED = 1  # of the sample of pairs


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", required=True, help="Hugging Face directory")
    parser.add_argument("--pairs", required=True, help="pairs of sentences, .tsv or .tsv.gz")
    parser.add_argument("--num_pairs", type=int, default=300, help="how many are drawn")
    return parser


def read_pairs(path: str, number: int) -> list[tuple[str, str]]:
    """Draw pairs (English, other) of a file, the same ones each time."""
    opened: Any = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    return [(row[0], row[1]) for row in random.Random(SEED).sample(rows, min(number, len(rows)))]


def measure(llm: Any, prompt: Any, pairs: Sequence[tuple[str, str]], space: str) -> tuple[float, float]:
    """Measure the texts that follow the prompts with their sources.

    Args:
        llm: A causal LM of transformers.
        prompt: Our prompt.
        pairs: Texts and their sources.
        space: What is put before each text, " " or "".

    Returns:
        Nats a token and nats a sentence.
    """
    import torch

    before, after = prompt.render()
    total, num_tokens = 0.0, 0
    for text, source in pairs:
        given = [*before, *prompt.encode(source), *after]
        ids = torch.tensor([*given, *prompt.encode(space + text), prompt.tokenizer.eos_token_id])
        with torch.inference_mode():
            logits = llm(ids[None]).logits[0].float()
        first = len(given)
        total += float(torch.nn.functional.cross_entropy(logits[first - 1 : -1], ids[first:], reduction="sum"))
        num_tokens += len(ids) - first
    return total / num_tokens, total / len(pairs)


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = get_parser().parse_args(cmd)
    import torch
    from transformers import AutoModelForCausalLM

    from speechllama.llm.files import load_tokenizer
    from speechllama.text.prompt import Prompt, PromptConfig
    from speechllama.text.tasks import DEFAULT_TASK

    tokenizer = load_tokenizer(args.llm)
    llm = AutoModelForCausalLM.from_pretrained(args.llm, dtype=torch.float32).eval()
    pairs = read_pairs(args.pairs, args.num_pairs)
    print(f"{len(pairs)} sentences, float32\n")
    print("| start token | space | nats a token | nats a sentence |\n|---|---|---|---|")
    for start in ("tokenizer", "bos"):
        prompt = Prompt(PromptConfig(start_token=start), DEFAULT_TASK, tokenizer)
        for space in ("", " "):
            a_token, a_sentence = measure(llm, prompt, pairs, space)
            print(f"| {start} | {'yes' if space else 'no'} | {a_token:.2f} | {a_sentence:.1f} |", flush=True)


if __name__ == "__main__":
    main()
