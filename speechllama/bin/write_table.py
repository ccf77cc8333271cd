"""Write the table of many systems, with significance, a figure and the paper's claims.

Example:
    cd egs/mini_covost2
    python3 -m speechllama.bin.write_table --systems "e5 e6" --reference e6 --langs "de fr es" --num_best 1

It takes the options of run_table.sh and run.sh, which say where each row's run is; a row that is not there is named as
missing. run_table.sh calls it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    return new_parser(__doc__)


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect and write."""
    _, words = get_parser().parse_known_args(cmd)
    from speechllama.progress import setup_logging
    from speechllama.recipe.table import plan_table
    from speechllama.report.results import results_path, write_results
    from speechllama.report.table.files import claims_path, write_table_files

    setup_logging()
    plan = plan_table(words, (), ())
    exp_dir, title = plan.expdir, Path.cwd().name
    table = write_table_files(exp_dir, plan.run_paths(), plan.options.reference, title)
    write_results(exp_dir, title)
    for row in table["rows"]:
        for seed, why in row["missing"].items():
            logging.warning("missing: %s, seed %s: %s", row["row"], seed, why)
        for flag in row.get("flags", []):
            logging.warning("%s: %s", row["row"], flag)
    logging.info("wrote %s and %s", results_path(exp_dir), claims_path(exp_dir))


if __name__ == "__main__":
    run_main(main)
