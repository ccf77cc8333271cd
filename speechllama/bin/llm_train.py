r"""Train the audio encoder and, if the YAML says so, LoRA or the whole LLM, with ESPnet's trainer.

The whole command has the data and their lengths, too; `run.sh --dry_run` prints it.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.llm_train --config conf/e0.yaml --conf_path conf:../TEMPLATE/conf \
        --llm_dir exp/llm --cmvn_file exp/stats_transcript_bpe120/cmvn.npz --task_name st \
        --train_data_path_and_name_and_type dump/train/feats.scp,speech,kaldi_ark \
        --train_data_path_and_name_and_type dump/train/text,text,text \
        --valid_data_path_and_name_and_type dump/dev/feats.scp,speech,kaldi_ark \
        --valid_data_path_and_name_and_type dump/dev/text,text,text \
        --train_shape_file exp/st_e0/llm_stats/train --valid_shape_file exp/st_e0/llm_stats/dev \
        --output_dir exp/st_e0
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import run_main
from speechllama.train.options import help_parser, run_training


def get_parser() -> argparse.ArgumentParser:
    """Our options; ESPnet's trainer has its own next to them."""
    return help_parser(__doc__, "system")


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    run_training(get_parser(), "system", cmd)


if __name__ == "__main__":
    run_main(main)
