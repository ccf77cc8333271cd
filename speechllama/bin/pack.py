"""Pack a trained system, of any kind, into one zip that translate, decode and Speech2Text read anywhere.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.pack --exp_dir exp/st_e6 --output exp/st_e6/packed.zip --include_llm true
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment at stage `average` or later; rescoring: `tune`")
    parser.add_argument("--output", required=True, help="the zip")
    parser.add_argument("--include_llm", type=str2bool, default=False, help="put the LLM's weights inside too")
    text = "decoded set whose search the packed model keeps as its default; empty: the one decoded last"
    parser.add_argument("--decode_dir", default="", help=text)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Pack."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.share.package import PackOptions, pack

    pack(args.exp_dir, args.output, PackOptions(args.include_llm, args.decode_dir or None))


if __name__ == "__main__":
    run_main(main)
