r"""Report what the CTC encoder recognises and how much the compressor shortens.

Writes report.json and report.md: WER and CER of the greedy CTC text and the compression ratio, for each set, over all
utterances and per language.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.ctc_report --compressed_dir exp/ctc_transcript_bpe120/compressed_frame_average \
        --output_dir exp/ctc_transcript_bpe120/compressed_frame_average
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
    parser.add_argument("--compressed_dir", required=True, help="compressed_<compressor>, a folder per set")
    parser.add_argument("--data_root", default="dump", help="the features' data directories, one per set")
    parser.add_argument("--sets", default="dev test", help="names of the sets, separated by spaces")
    parser.add_argument("--text_name", default="src_text", help="what CTC was trained on: src_text or text")
    parser.add_argument("--output_dir", required=True, help="where report.json and report.md go")
    parser.add_argument(
        "--max_blank_share", type=float, default=1.0, help="fail if CTC writes nothing for more of a set's utterances"
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Report and write."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.faults import raise_all
    from speechllama.report.ctc import ctc_report_path, find_blank, format_ctc_summary, report_ctc, write_ctc_report

    report = report_ctc(args.compressed_dir, args.data_root, args.sets.split(), args.text_name)
    write_ctc_report(report, args.output_dir)
    for line in format_ctc_summary(report):
        logging.info("%s", line)
    for warning in report.get("warnings", ()):
        logging.warning("%s", warning)
    logging.info("wrote %s", ctc_report_path(args.output_dir))
    raise_all(find_blank(report, args.max_blank_share), f"CTC encoder (--max_blank_share {args.max_blank_share:g})")


if __name__ == "__main__":
    run_main(main)
