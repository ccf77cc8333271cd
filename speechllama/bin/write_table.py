"""Write the table of many systems: scores with significance, a figure, the paper's claims, and the page of results.

Reads <exp_dir>/table/<row>.seed<n>.dirs, which run_table.sh writes; those that are absent are named as missing.
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
    parser.add_argument("--rows", required=True, help="rows, separated by blanks, such as 'e5 e6 e6:asr'")
    parser.add_argument("--seeds", default="1", help="seeds, separated by blanks")
    parser.add_argument("--reference", required=True, help="the row that all others are compared with")
    parser.add_argument("--title", default="Results", help="heading of the pages")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect and write."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.report.results import results_path, write_results
    from speechllama.report.table.files import claims_path, write_table_files

    seeds = [int(seed) for seed in args.seeds.split()]
    table = write_table_files(args.exp_dir, args.rows.split(), seeds, args.reference, args.title)
    write_results(args.exp_dir, args.title)
    for row in table["rows"]:
        for seed, why in row["missing"].items():
            logging.warning("missing: %s, seed %s: %s", row["row"], seed, why)
        for flag in row.get("flags", []):
            logging.warning("%s: %s", row["row"], flag)
    logging.info("wrote %s and %s", results_path(args.exp_dir), claims_path(args.exp_dir))


if __name__ == "__main__":
    run_main(main)
