#!/usr/bin/env python3
"""Time CTC training by itself and next to a busy process, with several settings of threads.

    launcher      utils/launch.sh as it is: the cores that are free when the job starts, waits that soon sleep
    active        all cores, which wait for each other as OpenMP does if nothing is set
    short wait    all cores, and the launcher's waits: what is left if another process comes later
    passive       all cores, which sleep while they wait
    one thread    one core

Every setting runs in a process of its own, in turn with the others, each free and then busy: one process that computes
without end. The network and the batch are those of egs/mini_covost2, on features of noise. Wanted of the launcher: busy
at most 1.6 times its free time, and no slower than `active` where the machine is free.

    python3 tools/benchmark_threads.py [--steps 50] [--repeats 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tool also runs where the package is not installed

from tools.pairs import format_ratios

ROOT = Path(__file__).resolve().parents[1]
NUM_UNITS, NUM_UTTERANCES, NUM_FRAMES, NUM_TEXT = 120, 5, 300, 20  # a batch of the mini recipe: 1,500 frames
LAUNCHER = "launcher"
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_DYNAMIC", "OMP_PROC_BIND", "MKL_NUM_THREADS")
WARM_UP_STEPS = 3


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="updates of each run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting, free and busy")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # one run, in this process
    return parser


def settings() -> dict[str, dict[str, str]]:
    """Environment variables of each row; the launcher sets its own."""
    cores = str(len(os.sched_getaffinity(0)))
    return {
        LAUNCHER: {},
        "active": {"OMP_NUM_THREADS": cores},
        "short wait": {"OMP_NUM_THREADS": cores, "GOMP_SPINCOUNT": "3000"},
        "passive": {"OMP_NUM_THREADS": cores, "OMP_WAIT_POLICY": "PASSIVE"},
        "one thread": {"OMP_NUM_THREADS": "1"},
    }


def measure_steps(num_steps: int) -> float:
    """Seconds of an update of CTC training in this process, the mean after a few that are not counted."""
    import torch

    from speechllama.constants import NUM_MELS
    from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig, ctc_loss
    from speechllama.model.layers import TransformerConfig

    torch.manual_seed(0)
    config = CTCEncoderConfig(conv_channels=16, transformer=TransformerConfig(4, 128, 4, 512, 0.0))
    network = CTCEncoder(config, NUM_UNITS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    speech = torch.randn(NUM_UTTERANCES, NUM_FRAMES, NUM_MELS)
    lengths = torch.full((NUM_UTTERANCES,), NUM_FRAMES)
    text = torch.randint(1, NUM_UNITS, (NUM_UTTERANCES, NUM_TEXT))
    start = time.perf_counter()
    for step in range(-WARM_UP_STEPS, num_steps):
        if step == 0:
            start = time.perf_counter()
        loss = ctc_loss(network(speech, lengths), text, torch.full((NUM_UTTERANCES,), NUM_TEXT))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    return (time.perf_counter() - start) / num_steps


def run(setting: str, num_steps: int) -> float:
    """Seconds of an update under a setting, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | settings()[setting]
    worker = [sys.executable, __file__, "--worker", "--steps", str(num_steps)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "steps.log"
        launch = [str(ROOT / "utils" / "launch.sh"), "--kind", "train", "--log", str(log), "--"]
        command = [*launch, *worker] if setting == LAUNCHER else worker
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        lines = log.read_text(encoding="utf-8") if setting == LAUNCHER else done.stdout
    (found,) = (json.loads(line) for line in lines.splitlines() if line.startswith("{"))
    return float(found["seconds"])


@contextlib.contextmanager
def foreign_process() -> Iterator[None]:
    """Another process that computes without end."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(num_steps: int, repeats: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of an update for each setting: of the runs on the free machine, and of those next to a busy process."""
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in settings()}
    for _ in range(repeats):
        for name, (free, busy) in seconds.items():
            free.append(run(name, num_steps))
            with foreign_process():
                busy.append(run(name, num_steps))
    return seconds


def format_rows(seconds: dict[str, tuple[list[float], list[float]]]) -> list[str]:
    """Medians in milliseconds, and medians of the ratios taken run by run, with the least and the most."""
    rows = ["| threads | free, ms | busy, ms | busy / free | free / active's |", "|---|---|---|---|---|"]
    for name, (free, busy) in seconds.items():
        slower = format_ratios(busy, free)
        row = (name, f"{statistics.median(free) * 1e3:.1f}", f"{statistics.median(busy) * 1e3:.1f}", slower)
        rows.append(f"| {' | '.join(row)} | {format_ratios(free, seconds['active'][0])} |")
    return rows


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the table, or in a process of its own the seconds of one run."""
    args = get_parser().parse_args(cmd)
    if args.worker:
        print(json.dumps({"seconds": measure_steps(args.steps)}))
        return
    print(f"{len(os.sched_getaffinity(0))} cores, {args.steps} updates of CTC training, {args.repeats} runs each\n")
    print("\n".join(format_rows(measure(args.steps, args.repeats))))


if __name__ == "__main__":
    main()
