"""Make data/{train,dev,test} and a report from Common Voice and CoVoST 2's tables (stage 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--common_voice", required=True, help="folder with [cv-corpus-*/]<lang>/validated.tsv and clips"
    )
    parser.add_argument("--covost2", required=True, help="folder with covost_v2.<lang>_en.tsv")
    parser.add_argument("--langs", required=True, help='source languages, as in "de fr zh-CN"')
    parser.add_argument(
        "--output_dir", required=True, help="gets train, dev, test, report.json and report.md"
    )
    parser.add_argument("--min_duration", type=float, default=0.3, help="shortest clip in seconds")
    parser.add_argument("--max_duration", type=float, default=30.0, help="longest clip in seconds")
    parser.add_argument("--num_threads", type=int, default=4, help="threads that read the clips' headers")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Prepare the corpus."""
    args = get_parser().parse_args(cmd)
    from speechllama.data.covost2 import CorpusOptions, prepare_covost2
    from speechllama.data.covost2_report import log_reports
    from speechllama.progress import setup_logging

    setup_logging()
    options = CorpusOptions(args.min_duration, args.max_duration, args.num_threads)
    log_reports(
        prepare_covost2(args.common_voice, args.covost2, args.langs.split(), args.output_dir, options)
    )


if __name__ == "__main__":
    run_main(main)
