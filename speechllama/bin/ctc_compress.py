r"""Write the cache of compressed features and the CTC hypotheses, one part of each data directory.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.ctc_compress --ctc_dir exp/ctc_transcript_bpe120 --data_dir dump/dev \
        --tokenizer data/ctc_transcript_bpe120/bpe.model --compressor frame_average \
        --output_dir exp/ctc_transcript_bpe120/compressed_frame_average/dev
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import mapping, new_parser, pair_up, run_main
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--ctc_dir", required=True, help="trained CTC experiment")
    parser.add_argument("--data_dir", nargs="+", required=True, help="data directories with feats.scp")
    parser.add_argument("--output_dir", nargs="+", required=True, help="where the part of each goes")
    parser.add_argument("--tokenizer", required=True, help="SentencePiece model of the CTC units")
    cached = [name for name in COMPRESSORS if COMPRESSORS[name].is_cached]
    parser.add_argument("--compressor", default=DEFAULT_COMPRESSOR, choices=cached)
    parser.add_argument("--compressor_conf", type=mapping, default={}, help="its settings, a YAML or JSON mapping")
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
    from speechllama.registry import choose

    choice = choose(COMPRESSORS, args.compressor, args.compressor_conf, "--compressor_conf")
    for data_dir, output_dir in pair_up(args.data_dir, args.output_dir, "--output_dir"):
        job = CacheJob(data_dir, output_dir, args.num_jobs, args.job, args.batch_frames, args.centroids_file)
        write_cache(args.ctc_dir, args.tokenizer, choice, job, "cuda" if args.ngpu else "cpu")


if __name__ == "__main__":
    run_main(main)
