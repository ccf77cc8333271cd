r"""Split decoded outputs that have several parts, such as transcript and translation, into decoded sets.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.split_outputs --task cot --output_dir exp/cot_e6/output_test_beam4 --part asr st \
        --part_dir exp/cot_e6/decode_test_beam4.asr exp/cot_e6/decode_test_beam4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, pair_up, run_main
from speechllama.progress import setup_logging
from speechllama.text.tasks import TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    with_parts = [name for name, task in TASKS.items() if task.separator]
    parser.add_argument("--task", required=True, choices=with_parts, help="what was decoded")
    parser.add_argument("--output_dir", required=True, help="decoded set with text and decode.json")
    parser.add_argument("--part", nargs="+", required=True, help="names of the parts")
    parser.add_argument("--part_dir", nargs="+", required=True, help="where text and decode.json of each go")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Split."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.output_parts import write_parts

    write_parts(args.task, args.output_dir, dict(pair_up(args.part, args.part_dir, "--part_dir")))


if __name__ == "__main__":
    run_main(main)
