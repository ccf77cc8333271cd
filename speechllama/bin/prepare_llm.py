"""Check a Hugging Face causal LM and its tokenizer, and record which one it is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--llm", required=True, help="local directory or hub id")
    parser.add_argument("--revision", default=None, help="revision on the hub")
    parser.add_argument("--output_dir", required=True, help="where llm.json goes")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Prepare."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.model.llm_record import prepare_llm

    prepare_llm(args.llm, args.revision, args.output_dir)


if __name__ == "__main__":
    run_main(main)
