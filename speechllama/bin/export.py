"""Take what an experiment trained elsewhere: adapters to peft, the LLM to transformers, the system to a hub.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.export --exp_dir exp/st_e6 --adapter exp/st_e6/adapter
    python3 -m speechllama.bin.export --exp_dir exp/st_e6 --merged_llm exp/st_e6/merged_llm
    python3 -m speechllama.bin.export --exp_dir exp/st_e6 --push ORGANISATION/NAME --license apache-2.0 --tag v1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment at stage `average` or later")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--adapter", metavar="DIR", help="its LoRA adapters, as PeftModel.from_pretrained reads them")
    what.add_argument("--merged_llm", metavar="DIR", help="its LLM with tokenizer, for AutoModelForCausalLM")
    what.add_argument(
        "--hub_dir", metavar="DIR", help="the whole system as --push puts it onto a hub, to look at first"
    )
    what.add_argument("--push", metavar="ORG/NAME", help="the whole system onto the Hugging Face hub")
    called = "of --hub_dir, what its card calls the system; empty: ORGANISATION/NAME"
    parser.add_argument("--name", default="", help=called)
    kinds = ["auto", "float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", default="auto", choices=kinds, help="of --merged_llm; auto: the original LLM's")
    group = parser.add_argument_group("of --hub_dir and --push")
    group.add_argument("--include_llm", type=str2bool, default=False, help="put the LLM's weights inside too")
    group.add_argument("--license", default="", help="of the system as published; empty: the LLM's, if it names one")
    group.add_argument("--private", type=str2bool, default=False, help="a new repository is seen by its owners only")
    group.add_argument("--tag", default="", help="name for this version, which from_pretrained takes as revision")
    group.add_argument("--token_file", default=None, help="file with the hub's token; or put it into HF_TOKEN")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Export."""
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.name and not args.hub_dir:
        parser.error("--name goes with --hub_dir; --push has a name of its own")
    setup_logging()
    from speechllama.hub import use_token_file
    from speechllama.share.llm import export_adapter, export_merged_llm
    from speechllama.share.package import PackOptions, write_repository
    from speechllama.share.push import Repository, push

    use_token_file(args.token_file)
    options = PackOptions(include_llm=args.include_llm, licence=args.license)
    if args.adapter:
        export_adapter(args.exp_dir, args.adapter)
    elif args.merged_llm:
        export_merged_llm(args.exp_dir, args.merged_llm, args.dtype)
    elif args.hub_dir:
        write_repository(args.exp_dir, args.hub_dir, args.name or "ORGANISATION/NAME", options)
    else:
        push(args.exp_dir, Repository(args.push, args.private, args.tag), options)


if __name__ == "__main__":
    run_main(main)
