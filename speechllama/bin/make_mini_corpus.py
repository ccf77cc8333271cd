"""Make the miniature corpus in CoVoST 2's and Common Voice's on-disk formats (stage `data` of egs/mini_covost2).

Sizes are totals over all languages. The same seed gives the same bytes; a second call makes only what is
missing.

Example:
    python3 -m speechllama.bin.make_mini_corpus --output_dir downloads --langs "de fr es" --nj 4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="gets common_voice/, covost2/ and llm_text.tsv")
    parser.add_argument("--langs", default="de fr es", help="source languages, separated by spaces")
    parser.add_argument("--num_train", type=int, default=6000, help="training clips, all languages together")
    parser.add_argument("--num_dev", type=int, default=90, help="development clips, all languages together")
    parser.add_argument("--num_test", type=int, default=450, help="test clips, all languages together")
    parser.add_argument("--num_llm_text", type=int, default=40000, help="text pairs, num_train included")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same bytes")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Make the corpus."""
    args = get_parser().parse_args(cmd)
    from speechllama.corpora.mini.corpus import make_corpus
    from speechllama.corpora.mini.plan import Settings
    from speechllama.progress import setup_logging

    setup_logging()
    settings = Settings(
        langs=tuple(args.langs.split()),
        num_train=args.num_train,
        num_dev=args.num_dev,
        num_test=args.num_test,
        num_llm_text=args.num_llm_text,
        seed=args.seed,
    )
    make_corpus(settings, Path(args.output_dir), args.nj)


if __name__ == "__main__":
    run_main(main)
