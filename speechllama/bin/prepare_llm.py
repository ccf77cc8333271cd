"""Check a Hugging Face causal LM and its tokenizer, and record which one it is.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.prepare_llm --llm /models/llama-7b --output_dir exp/llm_llama-7b
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--llm", required=True, help="local directory or hub id")
    parser.add_argument("--revision", default=None, help="revision on the hub: branch, tag or commit")
    parser.add_argument("--token_file", default=None, help="file with the hub's token; or put it into HF_TOKEN")
    parser.add_argument("--output_dir", required=True, help="where llm.json goes")
    parser.add_argument("--ngpu", type=int, default=0, help="load it on the GPU and report that memory")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Prepare."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.hub import use_token_file
    from speechllama.llm.record import prepare_llm
    from speechllama.model.build import check_device

    device = "cuda" if args.ngpu > 0 else "cpu"
    check_device(device)
    use_token_file(args.token_file)
    prepare_llm(args.llm, args.revision, args.output_dir, device=device)


if __name__ == "__main__":
    run_main(main)
