r"""Train the CTC encoder, with ESPnet's trainer.

The whole command has the data and their lengths, too; `run.sh --dry_run` prints it.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.ctc_train --config conf/ctc.yaml --conf_path conf:../TEMPLATE/conf \
        --tokenizer data/ctc_transcript_bpe120/bpe.model --cmvn_file exp/stats_transcript_bpe120/cmvn.npz \
        --train_data_path_and_name_and_type dump/train/feats.scp,speech,kaldi_ark \
        --train_data_path_and_name_and_type dump/train/src_text,text,text \
        --valid_data_path_and_name_and_type dump/dev/feats.scp,speech,kaldi_ark \
        --valid_data_path_and_name_and_type dump/dev/src_text,text,text \
        --train_shape_file exp/stats_transcript_bpe120/train/speech_shape \
        --train_shape_file exp/stats_transcript_bpe120/train/text_shape \
        --valid_shape_file exp/stats_transcript_bpe120/dev/speech_shape \
        --valid_shape_file exp/stats_transcript_bpe120/dev/text_shape \
        --output_dir exp/ctc_transcript_bpe120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import run_main
from speechllama.train.options import help_parser, run_training


def get_parser() -> argparse.ArgumentParser:
    """Our options; ESPnet's trainer has its own next to them."""
    return help_parser(__doc__, "ctc")


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    run_training(get_parser(), "ctc", cmd)


if __name__ == "__main__":
    run_main(main)
