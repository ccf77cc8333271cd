"""Check a run before hours are spent: corpus, disk, LLM, memory, YAML files, time.

Example:
    cd egs/mini_covost2
    python3 -m speechllama.bin.preflight --langs "de fr es" --system e5 --corpus_kind mini_covost2

Besides the options below it takes those of run.sh, which calls it as stage preflight.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Options besides those of run.sh."""
    parser = new_parser(__doc__)
    parser.add_argument("--finished", default="", help="names of finished stages, separated by spaces")
    parser.add_argument("--output_dir", default=None, help="where preflight.md goes; without it nothing is written")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Check; 1 if there is a fault."""
    args, words = get_parser().parse_known_args(cmd)
    from speechllama.hub import use_token_file
    from speechllama.recipe.plan import make_plan
    from speechllama.recipe.preflight.checks import run_preflight, write_report
    from speechllama.recipe.preflight.run import CheckedRun

    plan = make_plan(words)
    use_token_file(plan.options.token_file or None)
    launcher = os.environ.get("launcher", "local")  # cmd.sh says it
    report = run_preflight(CheckedRun(plan, frozenset(args.finished.split()), launcher))
    print(report.text())
    if args.output_dir:
        write_report(report, args.output_dir)
    return 1 if report.faults else 0


if __name__ == "__main__":
    run_main(main)
