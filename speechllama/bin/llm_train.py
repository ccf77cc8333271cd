"""Train the audio encoder and, if the config says so, LoRA or the LLM (ESPnet task; every option of its trainer)."""

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
