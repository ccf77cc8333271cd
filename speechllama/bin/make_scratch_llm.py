r"""Make the tokenizer and the shape of system D's LLM, which is trained from random weights.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.make_scratch_llm --config conf/decoder.yaml --conf_path conf:../TEMPLATE/conf \
        --text data/train/text --output_dir exp/llm_decoder_st
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import add_conf_path, new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.tasks import DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML of its sizes, see LlamaConfig")
    add_conf_path(parser)
    parser.add_argument("--text", required=True, help="target texts of the training set, for the tokenizer")
    parser.add_argument("--task", choices=list(TASKS), default=DEFAULT_TASK, help="what is written for those texts")
    parser.add_argument("--output_dir", required=True, help="where model/ and llm.json go")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Make."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import from_mapping, read_config
    from speechllama.files import read_table
    from speechllama.llm.scratch_llm import LlamaConfig, make_scratch_llm

    config = from_mapping(LlamaConfig, read_config(args.config, args.conf_path), args.config)
    make_scratch_llm(config, TASKS[args.task].texts_of(read_table(args.text)).values(), args.output_dir)


if __name__ == "__main__":
    run_main(main)
