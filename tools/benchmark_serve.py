#!/usr/bin/env python3
"""Load the server with good and bad files by many clients: are all answers right, what stays, and how fast is it?

    one at a time            one client, batches of one
    clients, batches of one  what waiting in a queue changes by itself
    clients, batches         what a server does

Each of the three is a process of its own, started as users do and ended by SIGTERM. Requests come from OpenAI's
client. Nine of ten are good: recordings, now and then a long one of several, each in one of the formats. Their right
answer is what `Speech2Text` writes without a server. The others have a fault, and must get its error. The three take
the same requests in turn, so that what else the machine does slows all of them. Exits with 1 unless every answer is
right, none is lost, each server ends with 0, and none holds more after the last round than after the first, which loads
what is loaded once: no descriptor, no temporary file, and at most 5 % of memory, which three rounds or more can tell.

In the directory of a recipe:
    python3 ../../tools/benchmark_serve.py --model exp/st_e6/packed.zip --wav_scp data/test/wav.scp
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tool also runs where the package is not installed

from speechllama.constants import SAMPLE_RATE  # noqa: E402
from speechllama.files import read_table  # noqa: E402
from tools.pairs import format_ratios  # noqa: E402

NAME = "served"
SEGMENT_SECONDS = 8.0
NUM_JOINED = 5  # recordings of a long one
FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
MAX_SECONDS = 300.0  # of a recording; one of the bad files is longer
SETTLE_SECONDS = 2.0  # for connections to be closed
MAX_SETTLES = 5
MAX_GROWTH = 0.05  # of memory, from half of the rounds on: until the largest batch has come, it rises
MIN_ROUNDS = 3  # counted ones, from which on a growth of memory can be told from that
SIDES = ("one at a time", "clients, batches of one", "clients, batches")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="trained experiment directory, or a packed zip")
    parser.add_argument("--wav_scp", required=True, help="table of recordings; some are taken, spread over all of it")
    parser.add_argument("--num_recordings", type=int, default=24)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=100, help="of each side in each round")
    parser.add_argument("--rounds", type=int, default=9, help="counted ones, after one that is not")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="which of the three")
    return parser


@dataclass(frozen=True)
class Request:
    """A request and its right answer: a status, and of a good one a text.

    Attributes:
        kind: What it is, for the count.
        name: Of the file.
        content: Of the file.
        status: HTTP status.
        text: What is written, or the error's code.
        fields: Other fields of the form.
    """

    kind: str
    name: str
    content: bytes
    status: int
    text: str
    fields: dict[str, Any] = field(default_factory=dict)


def make_requests(model: str, paths: Sequence[Path]) -> tuple[str, list[Request], list[Request]]:
    """Make the good requests and the bad ones; the texts are written here, recording by recording.

    Returns:
        The endpoint, good requests, bad requests.
    """
    import soundfile

    from speechllama.data.audio import read_audio
    from speechllama.decode.long import LongConfig
    from speechllama.decode.speech2text import Speech2Text
    from speechllama.text.tasks import TASKS

    translate = Speech2Text.from_pretrained(model)
    config = LongConfig(max_seconds=SEGMENT_SECONDS, segmentation="even", batch_size=1)

    def good(kind: str, name: str, content: bytes, path: Path) -> Request:
        text = " ".join(segment.text for segment in translate.long(path, config) if segment.text)
        return Request(kind, name, content, 200, text)

    requests = [good("recording", path.name, path.read_bytes(), path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, len(paths) - NUM_JOINED + 1, NUM_JOINED):
            joined = np.concatenate([read_audio(path) for path in paths[first : first + NUM_JOINED]])
            path = Path(folder) / f"joined{first}.wav"
            soundfile.write(path, joined, SAMPLE_RATE)
            requests.append(good("long recording", path.name, path.read_bytes(), path))
    whole = io.BytesIO()
    soundfile.write(whole, np.zeros(SAMPLE_RATE), SAMPLE_RATE, format="WAV")
    endless = io.BytesIO()
    soundfile.write(endless, np.zeros(round(1.1 * MAX_SECONDS * SAMPLE_RATE)), SAMPLE_RATE, format="FLAC")
    wav = whole.getvalue()
    bad = [
        Request("no audio", "a.mp3", b"nothing " * 100, 400, "bad_audio"),
        Request("truncated", "half.wav", wav[: len(wav) // 2], 400, "bad_audio"),
        Request("empty", "empty.wav", b"", 400, "bad_audio"),
        Request("too long", "long.flac", endless.getvalue(), 413, "recording_too_long"),
        Request("unknown model", "a.wav", wav, 404, "model_not_found", {"model": "other"}),
        Request("unknown format", "a.wav", wav, 400, "None", {"response_format": "docx"}),
    ]
    is_translation = TASKS[translate.settings["task_name"]].is_translation
    return "translations" if is_translation else "transcriptions", requests, bad


class Served:
    """A server in a process of its own, with a folder of its own for temporary files.

    Args:
        model: What it serves.
        batch_size: Most segments at once.
        folder: Its temporary files, and its log.
    """

    def __init__(self, model: str, batch_size: int, folder: Path) -> None:
        self.temporary, self.log = folder / "tmp", folder / "log"
        self.temporary.mkdir(parents=True)
        command = [sys.executable, "-m", "speechllama.bin.serve", "--model", model, "--name", NAME, "--port", "0"]
        cuts = ["--segmentation", "even", "--max_seconds", str(SEGMENT_SECONDS)]
        cuts += ["--max_recording_seconds", str(MAX_SECONDS)]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": paths}
        with self.log.open("wb") as log:
            words = [*command, *cuts, "--batch_size", str(batch_size)]
            self.process = subprocess.Popen(words, stderr=log, env=environment)
        self.url = self._wait_for(r"listening on (\S+)")
        self._wait_for("is ready")

    def _wait_for(self, pattern: str) -> str:
        """Wait for a line of the log; the last group of the pattern."""
        while True:
            found = re.search(f"{pattern}.*\n", self.log.read_text())
            if found:
                return found.group(found.lastindex or 0)
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.log.read_text()}")
            time.sleep(0.1)

    def measure(self) -> Counter[str]:
        """Count what it holds (memory in kB, descriptors, threads, temporary files), and milliseconds on a processor.

        Memory that other programs have pushed out to the swap is held, too.
        """
        place = Path(f"/proc/{self.process.pid}")
        lines = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        memory = sum(int(lines.get(name, "0 kB").split()[0]) for name in ("VmRSS", "VmSwap"))
        held = {"memory": memory, "threads": int(lines["Threads"])}
        ticks = (place / "stat").read_text().rpartition(")")[2].split()[11:13]  # of the program, of the system for it
        spent = sum(map(int, ticks)) * 1000 // os.sysconf("SC_CLK_TCK")
        files = sum(1 for _ in self.temporary.rglob("*"))
        return Counter({**held, "descriptors": len(os.listdir(place / "fd")), "temporary files": files, "ms": spent})

    def end(self) -> int:
        """End it as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@dataclass
class Side:
    """A server, how many clients ask it, and of each round, how long it took and what the server held after it."""

    name: str
    served: Served
    num_clients: int
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    held: list[Counter[str]] = field(default_factory=list)

    def run(self, endpoint: str, requests: Sequence[Request]) -> None:
        """Ask all requests, as many at a time as there are clients."""
        import openai

        local = threading.local()
        with contextlib.ExitStack() as stack:

            def ask(request: Request, response_format: str) -> str:
                if not hasattr(local, "client"):
                    address = f"{self.served.url}/v1"
                    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=600)
                    local.client = stack.enter_context(client)
                create = getattr(local.client.audio, endpoint).with_raw_response.create
                fields = {"model": NAME, "response_format": response_format, **request.fields}
                try:
                    answer = create(file=(request.name, request.content), **fields)
                except openai.APIStatusError as error:
                    is_right = (error.status_code, str(error.code)) == (request.status, request.text)
                    return f"{'right' if is_right else 'wrong'} error"
                except openai.APIConnectionError:
                    return "lost"
                is_right = request.status == 200 and is_text(answer.text, response_format, request.text)
                return f"{'right' if is_right else 'wrong'} text"

            formats = [FORMATS[index % len(FORMATS)] for index in range(len(requests))]
            start = time.perf_counter()
            with ThreadPoolExecutor(self.num_clients) as pool:
                self.outcomes.update(pool.map(ask, requests, formats))
            self.seconds.append(time.perf_counter() - start)

    def measure(self) -> None:
        """Note what the server holds, when its connections are closed."""
        for _ in range(MAX_SETTLES):
            time.sleep(SETTLE_SECONDS)
            held = self.served.measure()
            if not self.held or held["descriptors"] <= self.held[0]["descriptors"]:
                break
        self.held.append(held)


def find_growth(held: Sequence[Counter[str]]) -> list[str]:
    """Name what grew until the last round: files from the first one on, memory from half of them on.

    Args:
        held: What a server held after each round, as of `Served.measure`.
    """
    first, half, last = held[0], held[len(held) // 2], held[-1]
    names = [name for name in ("descriptors", "temporary files") if last[name] > first[name]]
    grown = [f"{name}: {first[name]} -> {last[name]}" for name in names]
    if len(held) > MIN_ROUNDS and last["memory"] > half["memory"] * (1 + MAX_GROWTH):
        grown.append(f"memory: {half['memory']} -> {last['memory']} kB")
    return grown


def is_text(answer: str, response_format: str, expected: str) -> bool:
    """Whether an answer in one of the formats has the text; the lines of subtitles may end inside a word."""
    import json

    if response_format.endswith("json"):
        return bool(json.loads(answer)["text"] == expected)
    if response_format == "text":
        return answer.removesuffix("\n") == expected
    cues = answer.removeprefix("WEBVTT\n\n").split("\n\n")
    lines = [line for cue in cues for line in cue.splitlines()[1 if response_format == "vtt" else 2 :]]
    return "".join("".join(lines).split()) == "".join(expected.split())


def choose(good: Sequence[Request], bad: Sequence[Request], number: int, dice: random.Random) -> list[Request]:
    """Draw requests, nine of ten good."""
    return [dice.choice(good if dice.random() < 0.9 else bad) for _ in range(number)]


@contextlib.contextmanager
def start_sides(args: argparse.Namespace) -> Iterator[list[Side]]:
    """Start the servers; whatever happens, they end."""
    ways = dict(zip(SIDES, ((1, 1), (args.clients, 1), (args.clients, args.batch_size)), strict=True))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        sides = []
        for name in args.sides:
            num_clients, batch_size = ways[name]
            served = Served(args.model, batch_size, Path(folder) / name)
            stack.callback(served.process.kill)
            sides.append(Side(name, served, num_clients))
        yield sides


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the rounds and print the tables."""
    args = get_parser().parse_args(cmd)
    table = [Path(place) for place in read_table(args.wav_scp).values()]
    endpoint, good, bad = make_requests(args.model, table[:: max(1, len(table) // args.num_recordings)])
    dice = random.Random(args.seed)
    with start_sides(args) as sides:
        for _ in range(args.rounds + 1):
            requests = choose(good, bad, args.requests, dice)
            for side in sides:
                side.run(endpoint, requests)
            for side in sides:
                side.measure()
        statuses = [side.served.end() for side in sides]
    print(
        f"{len({request.text for request in good})} different texts of {len(good)} good files, {len(bad)} bad files\n"
    )
    print_outcomes(sides, args.requests)
    print_held(sides, statuses)
    is_right = all(set(side.outcomes) <= {"right text", "right error"} for side in sides)
    growths = [f"GROWTH: {side.name}: {line}" for side in sides for line in find_growth(side.held)]
    for line in growths:
        print(line, file=sys.stderr)
    return 0 if is_right and not any(statuses) and not growths else 1


def print_outcomes(sides: Sequence[Side], num_requests: int) -> None:
    """Print what was answered and how fast, and the processor's time of a request, which other programs change little.

    The first round counts for answers only.
    """
    print("| side | clients | requests | right texts | errors as expected | wrong or lost | requests/s | speed | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    base = sides[0].seconds[1:]
    for side in sides:
        counts, seconds = side.outcomes, side.seconds[1:]
        right = (counts["right text"], counts["right error"])
        speed = num_requests * len(seconds) / sum(seconds)
        spent = (side.held[-1]["ms"] - side.held[0]["ms"]) / (num_requests * len(seconds))
        answers = (side.num_clients, counts.total(), *right, counts.total() - sum(right))
        cells = (side.name, *answers, f"{speed:.2f}", format_ratios(base, seconds, " times"), f"{spent:.0f} ms")
        print("| " + " | ".join(map(str, cells)) + " |")


def print_held(sides: Sequence[Side], statuses: Sequence[int]) -> None:
    """Print what the servers held after the first round, which loads what is loaded once, and later; how they ended."""
    print("\n| side | MB after each round, with swap | descriptors | threads | temporary files | exit status |")
    print("|---|---|---|---|---|---|")
    for side, status in zip(sides, statuses, strict=True):
        megabytes = ", ".join(f"{held['memory'] / 1024:.0f}" for held in side.held)
        first, last = side.held[0], side.held[-1]
        counts = [f"{first[name]} -> {last[name]}" for name in ("descriptors", "threads", "temporary files")]
        print("| " + " | ".join([side.name, megabytes, *counts, str(status)]) + " |")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end, too
    sys.exit(main())
