r"""Merge what parallel decoding jobs wrote into what a single job would have written.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.merge_decoded --output_dir exp/st_e6/decode_test_beam4 \
        --data_dir exp/ctc_transcript_bpe120/compressed_frame_average/test --num_jobs 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="data directory that was decoded")
    parser.add_argument("--output_dir", required=True, help="where the parts are and nbest.jsonl, text, decode.json go")
    parser.add_argument("--num_jobs", type=int, required=True, help="number of parts")
    parser.add_argument("--control", type=str2bool, default=False, help="as decode was told")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Merge."""
    args = get_parser().parse_args(cmd)
    from speechllama.decode.nbest import merge_decoded
    from speechllama.progress import setup_logging

    setup_logging()
    merge_decoded(args.data_dir, args.output_dir, args.num_jobs, args.control)


if __name__ == "__main__":
    run_main(main)
