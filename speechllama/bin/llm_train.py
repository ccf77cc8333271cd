"""Train the audio encoder and, if the config says so, LoRA or the LLM (ESPnet task; every option of its trainer)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from speechllama.cli import run_main


def main(cmd: Sequence[str] | None = None) -> None:
    """Run SpeechLlamaTask."""
    from speechllama.train.speech_llama import SpeechLlamaTask

    SpeechLlamaTask.main(cmd=sys.argv[1:] if cmd is None else cmd)


if __name__ == "__main__":
    run_main(main)
