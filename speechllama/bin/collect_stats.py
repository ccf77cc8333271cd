r"""Compute mean and variance of the features, and the lengths that batches are made by.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.collect_stats --train_dir dump/train --dev_dir dump/dev \
        --tokenizer data/ctc_transcript_bpe120/bpe.model --output_dir exp/stats_transcript_bpe120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--train_dir", required=True, help="data directory with feats.scp")
    parser.add_argument("--dev_dir", required=True, help="data directory with feats.scp")
    parser.add_argument("--tokenizer", required=True, help="SentencePiece model of the CTC units")
    parser.add_argument("--text_name", choices=("src_text", "text"), default="src_text", help="what CTC learns")
    parser.add_argument("--encoder", default="transformer", help="a name in model/encoders.py: how much it subsamples")
    parser.add_argument("--output_dir", required=True, help="gets cmvn.npz and {train,dev}/{speech,text}_shape")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect."""
    args = get_parser().parse_args(cmd)
    from speechllama.data.stats import collect_stats
    from speechllama.frontend.feature_format import read_format
    from speechllama.model.encoders import ENCODERS
    from speechllama.progress import setup_logging

    setup_logging()
    data_dirs = {"train": args.train_dir, "dev": args.dev_dir}
    record, shift = ENCODERS[args.encoder], read_format(args.train_dir).frame_shift

    def num_frames(count: int) -> int:
        return record.num_frames(count, shift)

    collect_stats(data_dirs, args.tokenizer, args.output_dir, num_frames, args.text_name)


if __name__ == "__main__":
    run_main(main)
