"""Time and peak memory of the data stages on generated rows.

    python3 tools/benchmark_data.py --rows 100000 1000000

Makes a corpus in CoVoST 2's format whose clips all link to one recording, in one language for half of the rows (the
most that is in memory at once) and four others, and runs the stages' own entry points, each in a process of its own.
Features are not computed: their ark holds one matrix, to which every utterance points. Rows, seconds and memory are
printed as a table; nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speechllama.data.ark import ark_writer  # noqa: E402
from speechllama.files import read_table, write_table  # noqa: E402

SHARES = {"de": 0.5, "fr": 0.2, "es": 0.15, "ru": 0.1, "et": 0.05}
NUM_WORDS = 5_000
NUM_UNITS = 500
NUM_FRAMES = 120
MIB_PER_KIB = 1 / 1024


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="rows of CoVoST 2's tables")
    parser.add_argument("--work_dir", default=None, help="where the corpus is made; a temporary folder if not given")
    return parser


def make_corpus(folder: Path, rows: int) -> None:
    """Write tables of `rows` rows and a link for each clip; 2 % each are dev and test, another 20 % untranslated."""
    dice = random.Random(1)
    recording = folder / "clip.mp3"
    folder.mkdir(parents=True)
    soundfile.write(recording, np.random.default_rng(1).normal(0, 0.1, 5 * 16000), 16000, format="MP3")
    (folder / "covost2").mkdir()
    for language, share in SHARES.items():
        clips = folder / "cv" / language / "clips"
        clips.mkdir(parents=True)
        letters = "абвгдежзик" if language == "ru" else "abcdefghij"
        words = ["".join(dice.choices(letters, k=dice.randint(2, 9))) for _ in range(NUM_WORDS)]
        english = ["".join(dice.choices("klmnopqrst", k=dice.randint(2, 9))) for _ in range(NUM_WORDS)]
        with (
            (folder / "cv" / language / "validated.tsv").open("w", encoding="utf-8") as validated,
            (folder / f"covost2/covost_v2.{language}_en.tsv").open("w", encoding="utf-8") as table,
        ):
            validated.write("client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment\n")
            table.write("path\ttranslation\tsplit\n")
            for number in range(int(rows * share * 1.2)):
                clip = f"common_voice_{language}_{number + 17_000_000}.mp3"
                client = f"{number // 40:0128x}"
                sentence = " ".join(dice.choices(words, k=dice.randint(4, 14)))
                validated.write(f"{client}\t{clip}\t{sentence}\t2\t0\t\t\t\t{language}\t\n")
                if number < int(rows * share):
                    split = ("dev", "test", *["train"] * 48)[number % 50]
                    table.write(f"{clip}\t{' '.join(dice.choices(english, k=dice.randint(4, 14)))}\t{split}\n")
                    os.symlink(recording, clips / clip)


def write_features(data: Path, dump: Path) -> None:
    """Write what the one part of stage `features` would have: every utterance points to one matrix."""
    with ark_writer(dump, "feats", 1) as write:
        write("one", np.random.default_rng(1).normal(size=(NUM_FRAMES, 80)).astype(np.float32))
    place = read_table(dump / "feats.1.scp")["one"]
    utterances = read_table(data / "utt2lang")
    write_table(dump / "feats.1.scp", dict.fromkeys(utterances, place))
    write_table(dump / "utt2num_frames.1", dict.fromkeys(utterances, str(NUM_FRAMES)))


def stages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Give the stages' commands; the work between them is done when the next one is asked for."""
    data, dump, bpe = folder / "data", folder / "dump", folder / "bpe"
    corpora = ["--common_voice", str(folder / "cv"), "--covost2", str(folder / "covost2")]
    words = ["--langs", " ".join(SHARES), "--datadir", str(data), "--downloads", str(folder / "work")]
    yield "prepare_data", ["covost2", *corpora, *words]
    yield "validate_data_dir", ["--data_dir", str(data / "train")]
    for name in ("train", "dev"):
        write_features(data / name, dump / name)
        merge = ["--data_dir", str(data / name), "--output_dir", str(dump / name), "--num_jobs", "1"]
        yield "merge_parts", [*merge, "--name", "feats"]
    text = ["--text", str(data / "train/src_text")]
    yield "train_tokenizer", [*text, "--vocab_size", str(NUM_UNITS), "--output_dir", str(bpe)]
    sets = ["--train_dir", str(dump / "train"), "--dev_dir", str(dump / "dev")]
    yield "collect_stats", [*sets, "--tokenizer", str(bpe / "bpe.model"), "--output_dir", str(folder / "stats")]


def measure(name: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Run an entry point; give its seconds and its peak memory in MiB.

    Raises:
        RuntimeError: It failed.
    """
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"speechllama.bin.{name}", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    last = process.stderr.read()[-2000:].decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} failed with status {process.returncode}:\n{last}")
    return time.monotonic() - start, usage.ru_maxrss * MIB_PER_KIB


def main(cmd: Sequence[str] | None = None) -> None:
    """Print one line a stage and size."""
    args = get_parser().parse_args(cmd)
    print("| stage | rows | seconds | rows a second | peak memory, MiB |\n|---|---|---|---|---|", flush=True)
    for rows in args.rows:
        with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
            place = Path(folder) / "corpus"
            make_corpus(place, rows)
            for name, arguments in stages(place):
                seconds, mib = measure(name, arguments)
                print(f"| {name} | {rows:,} | {seconds:.1f} | {rows / seconds:,.0f} | {mib:,.0f} |", flush=True)
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
