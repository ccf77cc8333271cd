"""Train the encoder-decoder B1 (ESPnet task; every option of its trainer)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from speechllama.cli import run_main


def main(cmd: Sequence[str] | None = None) -> None:
    """Run Seq2SeqTask."""
    from speechllama.train.seq2seq import Seq2SeqTask

    Seq2SeqTask.main(cmd=sys.argv[1:] if cmd is None else cmd)


if __name__ == "__main__":
    run_main(main)
