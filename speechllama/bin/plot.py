r"""Draw pictures: of one utterance's way through the compressor, or of a system's training, lengths and scores.

Examples, in the directory of a recipe:
    python3 -m speechllama.bin.plot --model exp/st_e6/packed.zip --audio clip.mp3 --output clip.svg
    python3 -m speechllama.bin.plot --exp_dir exp/st_e6 --output_dir pictures --format pdf

An utterance is drawn into a .svg, .pdf or .png file; a .json file gets the numbers.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from speechllama.cli import MODEL_HELP, REVISION_HELP, new_parser, run_main
from speechllama.decode.search_options import add_search_options, given_search
from speechllama.figure import FORMATS
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help=f"of an utterance: {MODEL_HELP}")
    what.add_argument("--exp_dir", help="of a system: its experiment directory, or that of a CTC encoder")
    system = parser.add_argument_group("a system")
    system.add_argument("--output_dir", default="", help="where its pictures go; empty: pictures/ in --exp_dir")
    system.add_argument("--format", default="svg", choices=FORMATS, help="of its pictures")
    utterance = parser.add_argument_group("an utterance")
    utterance.add_argument("--revision", default=None, help=REVISION_HELP)
    utterance.add_argument("--audio", help="the recording")
    utterance.add_argument("--output", help="the picture, .svg, .pdf or .png; or its numbers, .json")
    utterance.add_argument("--start", type=float, default=0.0, help="begin of the part to draw, in seconds")
    utterance.add_argument("--end", type=float, help="end of the part to draw, in seconds; default: of the recording")
    utterance.add_argument("--language", default="", help="source language code, if the model's prompt names it")
    utterance.add_argument("--width", type=float, default=0.0, help="of the picture in inches; 0: as it needs")
    add_search_options(parser, keeps_packed=True)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Draw."""
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.model and not (args.audio and args.output):
        parser.error("--model needs --audio and --output")
    setup_logging()
    if args.exp_dir:
        from speechllama.report.pictures.files import write_pictures

        for file in write_pictures(args.exp_dir, args.output_dir, args.format):
            logging.info("wrote %s", file)
        return
    from speechllama.decode.speech2text import Speech2Text
    from speechllama.decode.systems import change_search
    from speechllama.page.utterance import Part, draw_utterance

    translator = Speech2Text.from_pretrained(args.model, "cuda" if args.ngpu else "cpu", revision=args.revision)
    translator.config = change_search(translator.config, given_search(args))
    part = Part(args.audio, args.start, args.end, args.language)
    logging.info("wrote %s", draw_utterance(translator, part, args.output, args.width))


if __name__ == "__main__":
    run_main(main)
