r"""Make a training set of the texts that a trained system wrote of it: sequence-level distillation.

Texts that are empty or were cut are left out and counted. The arrays stay where they are.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.take_texts --decode_dir exp/st_e6/teach_train_beam4 --table text \
        --data_dir exp/ctc_transcript_bpe120/compressed_frame_average/train \
        --output_dir exp/ctc_transcript_bpe120/compressed_frame_average/train_by_st_e6_beam4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--decode_dir", required=True, help="what the teacher wrote of the training set")
    parser.add_argument("--data_dir", required=True, help="the training set, with feats.scp or compressed.scp")
    parser.add_argument("--table", required=True, help="its table of references, which the teacher's texts replace")
    parser.add_argument("--output_dir", required=True, help="the training set with the teacher's texts")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Take them."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.teacher_texts import take_texts

    take_texts(args.decode_dir, args.data_dir, args.table, args.output_dir)


if __name__ == "__main__":
    run_main(main)
