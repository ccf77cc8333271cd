"""Translate audio files, or transcribe them, as the model was trained: one line of text per file.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.translate --model exp/st_e6/packed.zip clip.mp3 another.wav
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from speechllama.bin.decode import add_search_options, search_config
from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("audio", nargs="+", help="wav, flac, mp3 or opus files")
    parser.add_argument("--model", required=True, help="trained experiment directory, or a packed zip")
    parser.add_argument("--language", default="", help="source language code, if the model's prompt names it")
    parser.add_argument("--target_lang", default="", help="language to write, if the model writes several")
    add_search_options(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Translate; a bad file is named and skipped, and the exit status is then 1."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.speech2text import Speech2Text

    translate = Speech2Text.from_pretrained(args.model, "cuda" if args.ngpu else "cpu", search_config(args))
    num_failed = 0
    for path in args.audio:
        try:
            nbest = translate(path, language=args.language, target=args.target_lang)
        except (ValueError, OSError) as error:
            print(f"ERROR: {error}", file=sys.stderr)
            num_failed += 1
            continue
        for entry in nbest or []:
            print(f"{path}\t{entry.text}" + (f"\t{entry.score:.4f}" if args.nbest > 1 else ""), flush=True)
    return 1 if num_failed else 0


if __name__ == "__main__":
    run_main(main)
