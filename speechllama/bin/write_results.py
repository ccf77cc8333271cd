"""Write the page of results of a recipe: score.json and CTC reports below --exp_dir -> RESULTS.md.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.write_results --exp_dir exp --title "Mini CoVoST 2"
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
    parser.add_argument("--exp_dir", required=True, help="the recipe's directory of experiments")
    parser.add_argument("--title", default="Results", help="heading of the page")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect the reports and write the page."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.report.results import results_path, write_results

    results = write_results(args.exp_dir, args.title)
    for line in results.missing:
        logging.info("missing: %s", line)
    logging.info("%s: %d scored sets", results_path(args.exp_dir), len(results.scores))


if __name__ == "__main__":
    run_main(main)
