"""Average the best epochs of an experiment into a model.pth.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.average_checkpoints --exp_dir exp/st_e6 --num_best 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment directory")
    parser.add_argument("--num_best", type=int, default=3, help="epochs to average")
    parser.add_argument("--criterion", default="valid.loss.min", help="phase.statistic.min or .max")
    parser.add_argument("--output_dir", default=None, help="where model.pth goes; the experiment if not given")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Average."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.train.average import average_checkpoints

    average_checkpoints(args.exp_dir, args.num_best, args.criterion, args.output_dir)


if __name__ == "__main__":
    run_main(main)
