"""Write the compressed-feature cache and the CTC hypotheses of one part of a data directory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--ctc_dir", required=True, help="trained CTC experiment")
    parser.add_argument("--data_dir", required=True, help="data directory with feats.scp")
    parser.add_argument("--output_dir", required=True, help="where the part goes")
    parser.add_argument("--tokenizer", required=True, help="SentencePiece model of the CTC units")
    parser.add_argument("--compressor", default="frame_average", choices=["blank_removal", "frame_average", "units"])
    parser.add_argument("--drop_blank_runs", type=str2bool, default=False, help="frame_average: leave out blank runs")
    parser.add_argument("--max_compressed_length", type=int, default=None, help="longest output in vectors")
    parser.add_argument("--num_clusters", type=int, default=0, help="units: their number")
    parser.add_argument("--centroids_file", default="", help="units: what learn_units wrote")
    parser.add_argument("--batch_frames", type=int, default=20000, help="feature frames in a batch, padding included")
    parser.add_argument("--num_jobs", type=int, default=1)
    parser.add_argument("--job", type=int, default=1, help="part, from 1")
    parser.add_argument("--ngpu", type=int, default=0)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compress."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.compress.cache import CacheJob, write_cache
    from speechllama.model.compressor import CompressorConfig

    config = CompressorConfig(args.compressor, args.drop_blank_runs, args.max_compressed_length, args.num_clusters)
    job = CacheJob(args.data_dir, args.output_dir, args.num_jobs, args.job, args.batch_frames, args.centroids_file)
    write_cache(args.ctc_dir, args.tokenizer, config, job, "cuda" if args.ngpu else "cpu")


if __name__ == "__main__":
    run_main(main)
