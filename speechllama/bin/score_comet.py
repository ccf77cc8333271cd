r"""Compute COMET of a decoded set and of its control: hypotheses, references, transcripts -> comet.json next to each.

bin/score then gives their mean, with a 95 % interval. COMET is in an environment of its own:
    python3 -m venv comet_env && comet_env/bin/pip install unbabel-comet

Example, in the directory of a recipe:
    python3 -m speechllama.bin.score_comet --hyp_dir exp/st_e6/decode_test_beam4 --data_dir dump/test \
        --control_dir exp/st_e6/decode_test_beam4_control --model Unbabel/wmt22-comet-da --python comet_env/bin/python
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.tasks import COMET, DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--hyp_dir", required=True, help="decoding directory with text")
    parser.add_argument("--control_dir", help="decoding directory of the control, each with another's audio")
    parser.add_argument("--data_dir", required=True, help="data directory with the references and src_text")
    tasks = [name for name, task in TASKS.items() if COMET in task.metrics]
    parser.add_argument("--task", choices=tasks, default=DEFAULT_TASK, help="what was decoded")
    parser.add_argument(
        "--model", required=True, help="checkpoint, directory, or repository on the hub, NAME or NAME@REVISION"
    )
    parser.add_argument(
        "--python", default="", help="interpreter of an environment with unbabel-comet; empty: this one"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="segments at once")
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="1: on the GPU")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compute."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.report.comet_scores import CometConfig, score_comet
    from speechllama.report.decoded_set import DecodedSet

    config = CometConfig(args.model, args.python, args.batch_size, args.ngpu)
    score_comet(DecodedSet(args.hyp_dir, args.data_dir, args.control_dir), TASKS[args.task], config)


if __name__ == "__main__":
    run_main(main)
