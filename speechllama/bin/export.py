"""Take what an experiment trained to other programs: adapters for peft, an LLM for transformers, a page of a hub.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.export --exp_dir exp/st_e6 --adapter exp/st_e6/adapter
    python3 -m speechllama.bin.export --exp_dir exp/st_e6 --merged_llm exp/st_e6/llm
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment at stage `average` or later")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--adapter", metavar="DIR", help="its LoRA adapters, as PeftModel.from_pretrained reads them")
    what.add_argument("--merged_llm", metavar="DIR", help="its LLM with tokenizer, for AutoModelForCausalLM")
    kinds = ["auto", "float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", default="auto", choices=kinds, help="of --merged_llm; auto: the original LLM's")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Export."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.share.llm import export_adapter, export_merged_llm

    if args.adapter:
        export_adapter(args.exp_dir, args.adapter)
    if args.merged_llm:
        export_merged_llm(args.exp_dir, args.merged_llm, args.dtype)


if __name__ == "__main__":
    run_main(main)
