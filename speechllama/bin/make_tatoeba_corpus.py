"""Speak sentence pairs of Tatoeba into a corpus of CoVoST 2's and Common Voice's format (stage `data` of egs/tatoeba).

Sizes are totals over all languages. The same pairs and seed give the same bytes; a second call makes only what is
missing, and more hours add to what is there.

Example:
    python3 -m speechllama.bin.make_tatoeba_corpus --output_dir downloads --pairs downloads/pairs --hours 10 --nj 4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--output_dir", required=True, help="gets common_voice/, covost2/ and llm_text.tsv")
    add("--pairs", required=True, help="folder with <code>-eng.tsv.gz, .tsv, .txt or .zip; or path or URL with {code}")
    add("--plain_text", nargs="*", type=Path, default=[], help="English text for the LLM: files, folders of .txt")
    add("--langs", default="de fr es nl", help="source languages, separated by spaces")
    add("--hours", type=float, default=100.0, help="hours of training speech, about, all languages together")
    add("--num_dev", type=int, default=400, help="development clips, all languages together")
    add("--num_test", type=int, default=1000, help="test clips, all languages together")
    add("--seed", type=int, default=1, help="same seed, same bytes")
    add("--nj", type=int, default=2, help="processes")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Make the corpus."""
    args = get_parser().parse_args(cmd)
    from speechllama.corpora.tatoeba.corpus import make_tatoeba
    from speechllama.corpora.tatoeba.plan import TatoebaSettings
    from speechllama.progress import setup_logging

    setup_logging()
    settings = TatoebaSettings(
        langs=tuple(args.langs.split()),
        hours=args.hours,
        num_dev=args.num_dev,
        num_test=args.num_test,
        seed=args.seed,
    )
    make_tatoeba(settings, args.pairs, args.plain_text, Path(args.output_dir), args.nj)


if __name__ == "__main__":
    run_main(main)
