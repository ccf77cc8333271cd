"""Train the mini recipe's LLM on text, and test that it translates written sentences."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML of TextLLMConfig")
    parser.add_argument("--text", required=True, help="TSV with the columns lang, sentence, translation")
    parser.add_argument("--dev_dir", required=True, help="data directory with src_text and text, for the test")
    parser.add_argument("--output_dir", required=True, help="where model/ and llm.json go")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.data.data_dir import read_data_dir
    from speechllama.model.config import from_mapping
    from speechllama.tasks.config_file import read_config
    from speechllama.tasks.text_llm import Line, TextLLMConfig, train_text_llm

    config = from_mapping(TextLLMConfig, read_config(args.config), args.config)
    data = read_data_dir(args.dev_dir)
    target = data.table("text")
    dev = [Line(sentence, target[utterance]) for utterance, sentence in data.table("src_text").items()]
    train_text_llm(config, args.text, dev, args.output_dir)


if __name__ == "__main__":
    run_main(main)
