r"""Decode a data directory with a trained experiment, in one job or as one of several parallel ones.

A single job also merges its result; after several, run merge_decoded.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.decode --exp_dir exp/st_e6 --output_dir exp/st_e6/decode_test_beam4 \
        --data_dir exp/ctc_transcript_bpe120/compressed_frame_average/test --beam_size 4 --nbest 4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.decode.search_options import add_search_options, given_search
from speechllama.faults import InputError
from speechllama.progress import setup_logging

if TYPE_CHECKING:
    from speechllama.decode.speech2text import Speech2Text


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp_dir", required=True, help="trained experiment, or a packed zip")
    parser.add_argument("--data_dir", required=True, help="data directory with compressed.scp or feats.scp")
    parser.add_argument("--output_dir", required=True, help="where nbest.jsonl, text and decode.json go")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at once")
    parser.add_argument("--task", default="", help="what to write, of a system trained for several tasks [its own way]")
    parser.add_argument("--control", type=str2bool, default=False, help="give each utterance another one's audio")
    parser.add_argument("--num_jobs", type=int, default=1, help="parts in all")
    parser.add_argument("--job", type=int, default=1, help="this part, from 1")
    add_search_options(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.decode.decode_set import DecodeJob, decode_set

    job = DecodeJob(args.data_dir, args.output_dir, args.batch_size, args.control, args.num_jobs, args.job, args.task)
    decode_set(load_translator(args), job, sys.argv[1:] if cmd is None else cmd)


def load_translator(args: argparse.Namespace) -> Speech2Text:
    """Load the system, of whichever kind it is.

    Raises:
        ValueError: --ctc_weight for a system that has no use for it, or one that is decoded by rescoring.
    """
    from speechllama.decode.joint_search import JointSearchConfig
    from speechllama.decode.packed import find_folder
    from speechllama.decode.search_config import SearchConfig
    from speechllama.decode.speech2text import Speech2Text
    from speechllama.decode.systems import find_rescoring
    from speechllama.model.build import is_seq2seq

    exp_dir, values = find_folder(args.exp_dir), given_search(args)
    if find_rescoring(exp_dir):
        raise InputError(f"{exp_dir}: a rescoring system; decode the system that it rescores, then run bin.rescore")
    if not is_seq2seq(exp_dir) and values.pop("ctc_weight") is not None:
        raise InputError(f"--ctc_weight {args.ctc_weight} is for encoder-decoders, and {args.exp_dir} is none")
    config = JointSearchConfig(**values) if "ctc_weight" in values else SearchConfig(**values)
    return Speech2Text.from_pretrained(exp_dir, "cuda" if args.ngpu else "cpu", config)


if __name__ == "__main__":
    run_main(main)
