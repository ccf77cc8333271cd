r"""Take over the CTC units of a front end whose checkpoint has a CTC head: its tokenizer, blank first.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.adopt_units --frontend hf \
        --frontend_conf '{"path": "facebook/wav2vec2-base-960h", "ctc_head": true}' \
        --text data/train/src_text --output_dir data/ctc_own_wav2vec2_960h
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import add_front_end, new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    add_front_end(parser)
    parser.add_argument("--text", required=True, help="transcripts, whose case decides that of what CTC writes")
    parser.add_argument("--output_dir", required=True, help="gets units.json and the tokenizer's files")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Write the units."""
    args = get_parser().parse_args(cmd)
    from speechllama.faults import InputError
    from speechllama.files import read_table
    from speechllama.frontend.ctc_head import read_unit_numbers
    from speechllama.frontend.front_ends import choose_front_end
    from speechllama.progress import setup_logging
    from speechllama.text.checkpoint_units import write_checkpoint_units

    setup_logging()
    settings = choose_front_end(args.frontend, args.frontend_conf).settings
    if not getattr(settings, "ctc_head", False):
        raise InputError(f"--frontend {args.frontend}: brings no CTC head; give it with ctc_head: true")
    numbers = read_unit_numbers(settings).order()
    write_checkpoint_units((settings.path, settings.revision), numbers, read_table(args.text).values(), args.output_dir)


if __name__ == "__main__":
    run_main(main)
