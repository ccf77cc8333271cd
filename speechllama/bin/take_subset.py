r"""Take utterances at even distances out of a data directory with features: what is decoded with --subset.

Their arrays stay where they are. Further files that say how features were made are copied.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.take_subset --data_dir dump/test --output_dir dump/test_subset100 --number 100
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="data directory with feats.scp or compressed.scp")
    parser.add_argument("--output_dir", required=True, help="the smaller data directory")
    parser.add_argument("--number", type=int, required=True, help="utterances to take; all where there are no more")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Take them."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.data.subset import take_subset

    taken, total = take_subset(args.data_dir, args.output_dir, args.number)
    logging.info("%s: %d of %d utterances", args.output_dir, taken, total)


if __name__ == "__main__":
    run_main(main)
