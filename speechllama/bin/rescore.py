r"""Choose among a decoded set's n-best hypotheses with an LLM's help.

Writes the files that decoding writes.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.rescore --settings exp/st_b2/rescoring_beam4.json --data_dir dump/test \
        --decode_dir exp/st_b1/decode_test_beam4 --output_dir exp/st_b2/decode_test_beam4
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--settings", required=True, help="what tune_rescoring wrote")
    parser.add_argument("--decode_dir", required=True, help="decoded set: its n-best hypotheses are rescored")
    parser.add_argument("--data_dir", required=True, help="data directory of that set")
    parser.add_argument("--output_dir", required=True, help="where nbest.jsonl, text and decode.json go")
    parser.add_argument("--batch_tokens", type=int, default=8192, help="LLM positions at once")
    parser.add_argument("--ngpu", type=int, default=0, help="1 uses a GPU")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Rescore."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.data.data_dir import read_data_dir
    from speechllama.decode.nbest import read_nbest
    from speechllama.decode.text_scorer import load_text_scorer
    from speechllama.files import read_json
    from speechllama.rescore.rescoring import rescore_set

    settings, nbest = read_json(args.settings), read_nbest(args.decode_dir)
    scorer = load_text_scorer(settings, "cuda" if args.ngpu else "cpu", args.batch_tokens)
    command = shlex.join(["python3", "-m", "speechllama.bin.rescore", *(sys.argv[1:] if cmd is None else cmd)])
    rescore_set(nbest, args.output_dir, read_data_dir(args.data_dir), scorer, {**settings, "command": command})


if __name__ == "__main__":
    run_main(main)
