r"""Take over the CTC head of the front end that wrote some features, as if stage ctc had trained it.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.adopt_ctc_head --data_dir dump_wav2vec2_960h/train \
        --tokenizer data/ctc_own_wav2vec2_960h/units.json --output_dir exp/ctc_own_wav2vec2_960h
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="data directory with features, and frontend.json")
    parser.add_argument("--tokenizer", required=True, help="units.json of the checkpoint's units")
    parser.add_argument("--output_dir", required=True, help="gets config.yaml and model.pth")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Take the head over."""
    args = get_parser().parse_args(cmd)
    from speechllama.progress import setup_logging
    from speechllama.train.own_head import adopt_head

    setup_logging()
    adopt_head(args.data_dir, args.tokenizer, args.output_dir)


if __name__ == "__main__":
    run_main(main)
