r"""Learn discrete units for system U: k-means on the states of a trained CTC encoder.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.learn_units --ctc_dir exp/ctc_transcript_bpe120 --data_dir dump/train \
        --compressor_conf '{"num_clusters": 500}' \
        --output_file exp/ctc_transcript_bpe120/compressed_units500/centroids.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import mapping, new_parser, run_main
from speechllama.model.compressors import COMPRESSORS
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--ctc_dir", required=True, help="trained CTC experiment")
    parser.add_argument("--data_dir", required=True, help="data directory with feats.scp: the training set")
    learned = [name for name in COMPRESSORS if COMPRESSORS[name].learned_file]
    parser.add_argument("--compressor", default="units", choices=learned, help="as in the system's YAML")
    parser.add_argument("--compressor_conf", type=mapping, required=True, help="its settings, a YAML or JSON mapping")
    parser.add_argument("--max_states", type=int, default=200_000, help="encoder states (40 ms) that k-means looks at")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output_file", required=True, help="the centroids, an npz")
    parser.add_argument("--ngpu", type=int, default=0)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Learn."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.compress.units import ClusterConfig, learn_centroids
    from speechllama.registry import choose

    choice = choose(COMPRESSORS, args.compressor, args.compressor_conf, "--compressor_conf")
    config = ClusterConfig(choice.settings.num_clusters, args.max_states, args.seed)
    learn_centroids(args.ctc_dir, args.data_dir, config, args.output_file, "cuda" if args.ngpu else "cpu")


if __name__ == "__main__":
    run_main(main)
