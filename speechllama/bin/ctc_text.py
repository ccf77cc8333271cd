r"""Take what the CTC encoder itself recognised as the decoded text of a set, or of its control, to be scored.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.ctc_text --ctc_dir exp/ctc_transcript_bpe300_small \
        --data_dir exp/ctc_transcript_bpe300_small/compressed_frame_average/test \
        --output_dir exp/asr_ctc_small/decode_test_beam1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--ctc_dir", required=True, help="trained CTC experiment")
    parser.add_argument("--data_dir", required=True, help="compressed features of the set, with ctc_hyp")
    parser.add_argument("--output_dir", required=True, help="where text and decode.json go")
    parser.add_argument("--control", type=str2bool, default=False, help="each utterance gets another one's audio")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Write the text."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.ctc_text import write_ctc_text

    words = sys.argv[1:] if cmd is None else cmd
    write_ctc_text(args.ctc_dir, args.data_dir, args.output_dir, args.control, words)


if __name__ == "__main__":
    run_main(main)
