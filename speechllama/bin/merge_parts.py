r"""Merge the parts that parallel jobs wrote into data directories, of features or compressed features.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.merge_parts --data_dir data/train data/dev --output_dir dump/train dump/dev --num_jobs 2
    python3 -m speechllama.bin.merge_parts --name compressed --data_dir dump/train --num_jobs 2 \
        --output_dir exp/ctc_transcript_bpe120/compressed_frame_average/train
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, pair_up, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", nargs="+", required=True, help="data directories that the jobs read")
    parser.add_argument("--output_dir", nargs="+", required=True, help="where the parts of each are and its tables go")
    parser.add_argument("--num_jobs", type=int, default=1, help="number of parts")
    parser.add_argument("--name", choices=("feats", "compressed"), default="feats", help="what the parts hold")
    parser.add_argument("--max_bad_share", type=float, default=0.05, help="share that may be left out; one always may")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Merge."""
    args = get_parser().parse_args(cmd)
    from speechllama.data.ark import merge_parts
    from speechllama.progress import setup_logging

    setup_logging()
    for data_dir, output_dir in pair_up(args.data_dir, args.output_dir, "--output_dir"):
        merge_parts(data_dir, output_dir, args.num_jobs, args.name, args.max_bad_share)


if __name__ == "__main__":
    run_main(main)
