"""Serve a page in the browser: speech from the microphone or a file in; text, hypotheses and the picture out.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.demo --model exp/st_e6/packed.zip

It listens on this machine only, asks no other server for anything, and deletes each recording with its answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import MODEL_HELP, REVISION_HELP, new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--revision", default=None, help=REVISION_HELP)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is the whole network")
    parser.add_argument("--port", type=int, default=7860, help="0: the first free one from 7860 on")
    parser.add_argument("--max_megabytes", type=float, default=20.0, help="largest file that is accepted")
    parser.add_argument("--max_seconds", type=float, default=600.0, help="longest recording that is accepted")
    parser.add_argument("--beam_size", type=int, default=0, help="at first; 0: as the model was packed with")
    cutting = "where a recording of more than 20 s is cut: at pauses that silero-vad finds, or evenly"
    parser.add_argument("--segmentation", default="vad", choices=("vad", "even"), help=cutting)
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Load the model and serve the page."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.long import LongConfig
    from speechllama.decode.speech2text import Speech2Text
    from speechllama.page.answer import Limits
    from speechllama.page.app import PageConfig, check_gradio, serve_page

    check_gradio()
    limits = Limits(args.max_megabytes, args.max_seconds)
    config = PageConfig(args.host, args.port, limits, args.beam_size, LongConfig(segmentation=args.segmentation))
    device = "cuda" if args.ngpu else "cpu"
    serve_page(Speech2Text.from_pretrained(args.model, device, revision=args.revision), config)


if __name__ == "__main__":
    run_main(main)
