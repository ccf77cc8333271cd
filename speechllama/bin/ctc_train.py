"""Train the CTC encoder (ESPnet task; every option of its trainer)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from speechllama.cli import run_main


def main(cmd: Sequence[str] | None = None) -> None:
    """Run CTCTask."""
    from speechllama.train.ctc import CTCTask

    CTCTask.main(cmd=sys.argv[1:] if cmd is None else cmd)


if __name__ == "__main__":
    run_main(main)
