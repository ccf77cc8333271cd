"""Compute the features of one part of each data directory; a finished part is kept.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.make_features --data_dir data/train --output_dir dump/train --num_jobs 2 --job 1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import add_front_end, new_parser, pair_up, run_main, str2bool


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--data_dir",
        nargs="+",
        required=True,
        help="data directories with wav.scp (for the front end given: feats.scp)",
    )
    parser.add_argument(
        "--output_dir",
        nargs="+",
        required=True,
        help="for each, what gets feats.J.ark, feats.J.scp, utt2num_frames.J, skipped.J, frontend.json",
    )
    add_front_end(parser)
    parser.add_argument("--ngpu", type=int, default=0, help="1: a front end with weights computes on the GPU")
    parser.add_argument("--num_jobs", type=int, default=1, help="number of parts")
    parser.add_argument("--job", type=int, default=1, help="which part, from 1")
    parser.add_argument(
        "--max_bad_share", type=float, default=0.05, help="share of all utterances that may fail; one always may"
    )
    parser.add_argument(
        "--allow_commands",
        type=str2bool,
        default=False,
        help="run the commands of wav.scp; trust them first",
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compute one part of each."""
    args = get_parser().parse_args(cmd)
    from speechllama.data.features import Extraction, make_features
    from speechllama.frontend.front_ends import choose_front_end
    from speechllama.progress import setup_logging

    setup_logging()
    choice = choose_front_end(args.frontend, args.frontend_conf)
    extraction = Extraction(choice, "cuda" if args.ngpu else "cpu", args.allow_commands)
    for data_dir, output_dir in pair_up(args.data_dir, args.output_dir, "--output_dir"):
        make_features(data_dir, output_dir, (args.job, args.num_jobs), args.max_bad_share, extraction)


if __name__ == "__main__":
    run_main(main)
