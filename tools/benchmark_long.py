"""Real-time factor and memory of translating long recordings, made by joining clips.

    python3 tools/benchmark_long.py --model egs/mini_covost2/exp/st_e6/packed.zip --minutes 1 10 60

Joins clips, with pauses between them, into recordings of several lengths, and translates each with `translate` in a
process of its own. The clips are given (--clips), or sentences that eSpeak NG speaks. A table is printed; nothing is
kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speechllama.constants import SAMPLE_RATE  # noqa: E402
from speechllama.corpora.synthetic.espeak import synthesize  # noqa: E402
from speechllama.data.audio import read_audio, resample  # noqa: E402
from speechllama.markdown import format_table  # noqa: E402

PAUSES = (0.3, 0.8, 1.5, 0.6)  # seconds between clips, in turn
SENTENCES = {  # of the mini recipe's kind
    "de": ("Der alte Mann trinkt heute ein Glas Wasser.", "Die Kinder haben gestern den roten Apfel nicht gegessen."),
    "fr": ("La vieille femme ne boit pas de vin ce soir.", "Les enfants mangent une pomme rouge dans le jardin."),
    "es": ("El niño come pan con su hermana en la cocina.", "La mujer vieja no quiere comprar una casa grande."),
}
VARIANTS = ("m3", "f2")
HEADER = ("recording", "segmentation", "segments", "characters", "time", "real-time factor", "peak memory")


class Measured(NamedTuple):
    """What a process took, and what it wrote."""

    seconds: float
    peak_mib: float
    num_segments: int
    num_characters: int


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="trained experiment directory, or a packed zip")
    parser.add_argument("--clips", nargs="*", default=[], help="recordings to join; none: synthetic sentences")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0, 60.0], help="lengths of the recordings")
    parser.add_argument("--segmentation", nargs="+", default=["vad", "even"], help="vad, even")
    parser.add_argument("--options", default="", help="further options of translate, in one string")
    return parser


def read_clips(paths: Sequence[str]) -> list[np.ndarray]:
    """Waveforms (S,) at 16 kHz of the given recordings, or of synthetic sentences."""
    if paths:
        return [read_audio(path) for path in paths]
    spoken = [
        synthesize(sentence, language, variant)
        for variant in VARIANTS
        for language, sentences in SENTENCES.items()
        for sentence in sentences
    ]
    return [resample(waveform, rate) for waveform, rate in spoken]


def join_clips(clips: Sequence[np.ndarray], seconds: float, path: Path) -> None:
    """Write a recording of at least so many seconds: the clips in turn, again and again, with pauses."""
    written = 0
    with soundfile.SoundFile(str(path), "w", SAMPLE_RATE, 1) as stream:
        for clip, pause in zip(itertools.cycle(clips), itertools.cycle(PAUSES), strict=False):
            for part in (clip, np.zeros(round(pause * SAMPLE_RATE), np.float32)):
                stream.write(part)
                written += len(part)
            if written >= seconds * SAMPLE_RATE:
                return


def measure(words: Sequence[str], recording: Path, output_dir: Path) -> Measured:
    """Translate a recording in a process of its own.

    Raises:
        SystemExit: translate fails; it has said why.
    """
    command = [sys.executable, "-m", "speechllama.bin.translate", *words, str(recording)]
    command += ["--format", "json", "--output_dir", str(output_dir)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"translate ended with status {os.waitstatus_to_exitcode(status)}")
    document = json.loads((output_dir / f"{recording.stem}.json").read_text(encoding="utf-8"))
    return Measured(seconds, usage.ru_maxrss / 1024, len(document["segments"]), len(document["text"]))


def rows(args: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """The rows of the table, one after the other."""
    clips = read_clips(args.clips)
    for minutes in args.minutes:
        recording = folder / f"{minutes:g}_minutes.flac"
        join_clips(clips, 60 * minutes, recording)
        duration = soundfile.info(str(recording)).duration
        for segmentation in args.segmentation:
            words = ["--model", args.model, "--segmentation", segmentation, *args.options.split()]
            found = measure(words, recording, folder)
            numbers = [f"{found.num_segments:,}", f"{found.num_characters:,}", f"{found.seconds:.1f} s"]
            factor = f"{found.seconds / duration:.3f}"
            yield [f"{duration / 60:.1f} min", segmentation, *numbers, factor, f"{found.peak_mib:,.0f} MiB"]


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = get_parser().parse_args(cmd)
    with tempfile.TemporaryDirectory() as folder:
        table = list(rows(args, Path(folder)))
    print(format_table(HEADER, table), end="")


if __name__ == "__main__":
    main()
