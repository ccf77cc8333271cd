r"""Kill stages of a tiny recipe at random moments, resume them, and compare with a run that nothing broke.

    python3 tools/stress_resume.py --work_dir /tmp/stress --kills 100
    python3 tools/stress_resume.py --work_dir /tmp/stress --stages ctc lora --kills 10 --seed 7

A trial starts a stage of the mini recipe with run.sh, kills every process of it with SIGKILL, and starts it again. At
the end all tensors of its checkpoints, or all of its hypotheses, must be those of the unbroken run. Half of the kills
come at a random moment of the stage's time; the other half wait, from such a moment on, until one of the files that the
stage resumes from is being written. The report is <work_dir>/resume.jsonl, a line for each trial; the same command
continues where it was stopped. Exit status 1 if a trial ends with something else than the unbroken run.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speechllama.markdown import format_table  # noqa: E402
from tools.stress.compare import compare_decoded, compare_training  # noqa: E402
from tools.stress.forked import preload  # noqa: E402
from tools.stress.processes import kill_session, session_members  # noqa: E402
from tools.stress.recipe import RECIPE, TimeLeft, TinyRecipe, describe_run, digest_code  # noqa: E402

STAGES = ("ctc", "train", "lora", "decode")
POLL_SECONDS = 0.0003  # a checkpoint of the tiny recipe is written in some milliseconds
MAX_DRAWS = 20  # a moment after the stage's end is no kill: draw another one
PATTERNS = ("*.pth", "*.pth.tmp", "*.tmp", "*.jsonl", "*.tmp.*", "text")  # what a stage resumes from


@dataclass(frozen=True)
class Trial:
    """One kill, and what came of it.

    Attributes:
        number: Which trial, from 0; it and the seed say what is drawn.
        stage: The stage.
        aim: "time" or "write".
        share: Of the unbroken stage's seconds, after which the kill comes or begins to wait for a write.
        seconds: When the kill came.
        half_written: Files that it left half-written.
        result: "equal", "differs" or "failed".
        detail: What differs, or the end of what the resumed run printed.
    """

    number: int
    stage: str
    aim: str
    share: float
    seconds: float
    half_written: list[str]
    result: str
    detail: str = ""


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of the files that a stage resumes from."""
    found = {}
    for pattern in PATTERNS:
        for path in folder.glob(f"**/{pattern}"):
            try:
                state = path.stat()
            except FileNotFoundError:  # renamed since
                continue
            found[str(path)] = (state.st_size, state.st_mtime_ns)
    return found


def run_and_kill(command: Sequence[str], folder: Path, wait: float, aim: str) -> float | None:
    """Start a command in a session of its own, and kill all of it.

    Args:
        command: The command.
        folder: Where it writes.
        wait: Seconds before the kill.
        aim: "write": after these seconds, wait until a file is being written there.

    Returns:
        Seconds until the kill; None if the command ended before.
    """
    start = time.monotonic()
    log = folder.parent / "killed.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
        members: list[int] = []
        while process.poll() is None and time.monotonic() - start < wait:
            members = session_members(process.pid)
            time.sleep(min(0.05, max(0.0, wait - (time.monotonic() - start))))
        before = snapshot(folder) if aim == "write" else {}
        looked = time.monotonic()
        while aim == "write" and process.poll() is None and snapshot(folder) == before:
            if time.monotonic() - looked > 0.2:
                members, looked = session_members(process.pid), time.monotonic()
            time.sleep(POLL_SECONDS)
        is_running = process.poll() is None
        kill_session(process.pid, members)
        process.wait()
    return time.monotonic() - start if is_running else None


def find_half_written(folder: Path) -> list[str]:
    """Names of the files that a kill left half-written: temporary ones, truncated checkpoints, lines without an end."""
    found = []
    for path in (path for pattern in set(PATTERNS) for path in folder.glob(f"**/{pattern}")):
        is_whole = True
        if ".tmp" in path.name:
            is_whole = False
        elif path.suffix == ".pth":
            is_whole = zipfile.is_zipfile(path)
        elif path.suffix == ".jsonl":
            is_whole = path.read_bytes()[-1:] in (b"", b"\n")
        if not is_whole:
            found.append(path.name)
    return sorted(set(found))


@dataclass(frozen=True)
class Stage:
    """What a trial needs to know of a stage.

    Attributes:
        number: Its number for run.sh.
        folder: The experiment that it writes, below `exp`.
        reads: Experiments that it reads, as patterns below `exp`.
        compare: Found, expected -> what differs.
    """

    number: int
    folder: str
    reads: tuple[str, ...]
    compare: Callable[[Path, Path], list[str]]


KINDS = {
    "ctc": Stage(5, "ctc_transcript_bpe80", ("stats_*",), compare_training),
    "train": Stage(8, "st_e5", ("stats_*", "ctc_*", "llm"), compare_training),
    "lora": Stage(9, "st_e6", ("stats_*", "ctc_*", "llm", "st_e5"), compare_training),
    "decode": Stage(11, "st_e6", ("stats_*", "ctc_*", "llm", "st_e5"), compare_decoded),
}


class Bench:
    """The unbroken runs of all stages, and trials against them.

    Args:
        work_dir: Where all of it is.
    """

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.base = TinyRecipe(work_dir / "base")

    def command(self, name: str, exp: Path) -> list[str]:
        """run.sh for one stage, with its experiments elsewhere."""
        places = {
            option: self.base.folder / option.removesuffix("dir") for option in ("datadir", "dumpdir", "downloads")
        }
        recipe, number = TinyRecipe(exp.parent, {**places, "expdir": exp}), str(KINDS[name].number)
        return [str(RECIPE / "run.sh"), *recipe.words, "--stage", number, "--stop_stage", number]

    def prepare(self, name: str, exp: Path) -> Path:
        """Make a fresh folder of experiments with what a stage reads; the folder that the stage writes."""
        shutil.rmtree(exp.parent, ignore_errors=True)
        exp.mkdir(parents=True)
        stage = KINDS[name]
        for source in (path for pattern in stage.reads for path in sorted((self.base.folder / "exp").glob(pattern))):
            (exp / source.name).symlink_to(source)
        (exp / stage.folder).mkdir()
        if name == "decode":
            for file in ("model.pth", "config.yaml"):
                (exp / stage.folder / file).symlink_to(self.base.folder / "exp" / stage.folder / file)
        return exp / stage.folder

    def unbroken(self, name: str) -> tuple[Path, float]:
        """Run a stage to its end, once: its folder and its seconds."""
        exp = self.work_dir / f"unbroken_{digest_code()}" / name / "exp"
        record = exp.parent / "seconds.json"
        if not record.is_file():
            self.prepare(name, exp)
            start = time.monotonic()
            result = subprocess.run(self.command(name, exp), capture_output=True, text=True, check=False)
            if result.returncode:
                raise RuntimeError(f"stage {name}, unbroken: {result.stdout[-2000:]}{result.stderr[-3000:]}")
            record.write_text(json.dumps(time.monotonic() - start))
        return exp / KINDS[name].folder, float(json.loads(record.read_text()))

    def try_once(self, number: int, name: str, seed: int) -> Trial:
        """Kill a stage, resume it, and compare."""
        expected, duration = self.unbroken(name)
        exp = self.work_dir / "trials" / f"{number}" / "exp"
        draw = random.Random(f"{seed} {number}")
        aim, share, seconds = "", 0.0, None
        for _ in range(MAX_DRAWS):
            aim, share = draw.choice(["time", "write"]), draw.random()
            folder = self.prepare(name, exp)
            seconds = run_and_kill(self.command(name, exp), folder, share * duration, aim)
            if seconds is not None:
                break
        else:
            raise RuntimeError(
                f"stage {name} always ends before its kill; remove {expected.parents[1]} and start again"
            )
        half = find_half_written(folder)
        result = subprocess.run(self.command(name, exp), capture_output=True, text=True, check=False)
        if result.returncode:
            outcome, detail = "failed", f"{result.stdout[-1500:]}{result.stderr[-2500:]}"
        else:
            differing = KINDS[name].compare(folder, expected)
            outcome, detail = ("differs", "; ".join(differing[:10])) if differing else ("equal", "")
        if outcome == "equal":
            shutil.rmtree(exp.parent)
        return Trial(number, name, aim, round(share, 3), round(seconds or 0.0, 2), half, outcome, detail)


def format_trials(trials: Sequence[Trial], stages: Sequence[str]) -> str:
    """Write the table: stage, kills, of which aimed at writing, of which left half a file, and how they ended."""
    rows = []
    for name in [*stages, "all"]:
        own = [trial for trial in trials if name in (trial.stage, "all")]
        ended = [sum(trial.result == result for trial in own) for result in ("equal", "differs", "failed")]
        aimed, half = sum(trial.aim == "write" for trial in own), sum(bool(trial.half_written) for trial in own)
        rows.append((name, *map(str, (len(own), aimed, half, *ended))))
    header = ("stage", "kills", "while writing", "half a file left", "resumed equal", "differing", "failed")
    return format_table(header, rows)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", required=True, help="gets the recipe, the trials that failed, and the report")
    parser.add_argument("--kills", type=int, default=100, help="trials, of all stages in turn")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="which stages")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the trials that the report does not have yet; 1 if any did not end as the unbroken run."""
    args = get_parser().parse_args(cmd)
    work_dir = Path(args.work_dir).absolute()
    bench, report = Bench(work_dir), work_dir / "resume.jsonl"
    preload()
    bench.base.make()
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
    seed = args.seed
    code = digest_code()
    done = {line["number"]: Trial(**line["trial"]) for line in lines if (line["seed"], line["code"]) == (seed, code)}
    wanted = {number: args.stages[number % len(args.stages)] for number in range(args.kills)}
    trials = [trial for number, trial in done.items() if wanted.get(number) == trial.stage]
    left = [number for number in wanted if number not in {trial.number for trial in trials}]
    clock = TimeLeft(len(left))
    for number in left:
        trial = bench.try_once(number, wanted[number], seed)
        trials.append(trial)
        with report.open("a", encoding="utf-8") as stream:
            record = {"number": number, "seed": seed, "trial": asdict(trial), **describe_run()}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        written = f", half-written: {', '.join(trial.half_written)}" if trial.half_written else ""
        said = f"{trial.stage} killed after {trial.seconds:.1f} s ({trial.aim}{written}): {trial.result} {trial.detail}"
        print(f"{clock.step()}: {said}", file=sys.stderr, flush=True)
    print(format_trials(trials, args.stages))
    print(f"\n{len(trials)} kills, seed {seed}, report {report}")
    return int(any(trial.result != "equal" for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
