r"""Train the units of CTC, a SentencePiece model, on a text table.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.train_tokenizer --text data/train/src_text --vocab_size 120 \
        --output_dir data/ctc_transcript_bpe120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--text", required=True, help='table of "utterance text" lines, as data/train/src_text')
    parser.add_argument("--vocab_size", type=int, required=True, help="pieces; the units are one more, for blank")
    parser.add_argument("--output_dir", required=True, help="gets bpe.model")
    parser.add_argument("--model_type", choices=("unigram", "bpe"), default="bpe", help="SentencePiece's model")
    parser.add_argument("--character_coverage", type=float, default=0.9995, help="share of characters with own pieces")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    args = get_parser().parse_args(cmd)
    from speechllama.files import read_table
    from speechllama.progress import setup_logging
    from speechllama.text.tokenizer import train_tokenizer

    setup_logging()
    texts = list(read_table(args.text).values())
    train_tokenizer(texts, args.output_dir, args.vocab_size, args.model_type, args.character_coverage)


if __name__ == "__main__":
    run_main(main)
