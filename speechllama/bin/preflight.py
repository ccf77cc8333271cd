"""Check a run before hours are spent: paths, disk, LLM, GPU memory, every YAML, batches, time of each stage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool


def get_parser() -> argparse.ArgumentParser:
    """Options; those that are not described here are the recipe's, see `run.sh --help`."""
    parser = new_parser(__doc__)
    parser.add_argument("--system_config", required=True, help="the system's YAML")
    parser.add_argument("--rescore_config", default="", help="YAML of a rescoring system, which stands on the first")
    parser.add_argument("--ctc_config", required=True, help="CTC's YAML")
    parser.add_argument("--init_config", default="", help="YAML of the system it starts from")
    parser.add_argument("--llm_config", default="", help="YAML of the LLM that the recipe trains itself")
    for name in ("llm", "langs", "common_voice", "covost2", "ctc_options", "train_options"):
        parser.add_argument(f"--{name}", default="", help="of the recipe")
    parser.add_argument("--revision", default=None, help="of the recipe")
    parser.add_argument("--token_file", default=None, help="file with the hub's token; or put it into HF_TOKEN")
    for name in ("data", "dump", "exp"):
        parser.add_argument(f"--{name}dir", default=name, help="of the recipe")
    parser.add_argument("--is_prepared", type=str2bool, default=False, help="stage 1 is finished")
    parser.add_argument("--downloads", default="downloads", help="of the recipe")
    numbers = {"ctc_units": 1000, "nj": 1, "ngpu": 0, "num_nodes": 1}
    numbers |= {"beam_size": 4, "batch_size": 16, "stop_stage": 13}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="of the recipe")
    parser.add_argument("--launcher", default="local", help="how jobs start; on a cluster the GPUs may be elsewhere")
    parser.add_argument("--output_dir", default=None, help="where preflight.md goes; without it nothing is written")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Check; 1 if there is a fault."""
    values = vars(get_parser().parse_args(cmd))
    output_dir, token_file = values.pop("output_dir"), values.pop("token_file")
    from speechllama.llm.files import use_token_file
    from speechllama.recipe.preflight.checks import run_preflight, write_report
    from speechllama.recipe.preflight.plan import Plan

    use_token_file(token_file)
    report = run_preflight(Plan(**values))
    print(report.text())
    if output_dir:
        write_report(report, output_dir)
    return 1 if report.faults else 0


if __name__ == "__main__":
    run_main(main)
