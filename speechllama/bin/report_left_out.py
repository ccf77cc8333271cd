r"""Report by language what the features and statistics stages left out, and why.

Writes left_out.json and left_out.md.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.report_left_out --data_root data --dump_root dump \
        --stats_dir exp/stats_transcript_bpe120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_root", required=True, help="folder of train, dev and test as stage `data` wrote them")
    parser.add_argument("--dump_root", required=True, help="folder of train, dev and test with features")
    parser.add_argument("--stats_dir", required=True, help="what collect_stats wrote; gets the report")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Report."""
    args = get_parser().parse_args(cmd)
    from speechllama.data.left_out import report_left_out

    report_left_out(args.data_root, args.dump_root, args.stats_dir)


if __name__ == "__main__":
    run_main(main)
