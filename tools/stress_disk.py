r"""Run every stage of a tiny recipe on a full disk and in a read-only directory, then again with room, and compare.

    python3 tools/stress_disk.py --work_dir /tmp/stress
    python3 tools/stress_disk.py --work_dir /tmp/stress --stages train lora

What a stage writes goes to a tmpfs of its own, so this needs root. "full": there is room for none of it, for half or
for nine tenths; "read-only": the tmpfs is mounted so. The stage must end with a message that names a path on that
disk, or, where it can do without the file, succeed; then it runs again with room, and its outputs must be those of an
undisturbed run. Exit status 1 if a stage ends with a traceback or without a path, or cannot be resumed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speechllama.markdown import format_table  # noqa: E402
from tools.stress.compare import compare_files  # noqa: E402
from tools.stress.forked import Ended, preload  # noqa: E402
from tools.stress.recipe import TimeLeft, TinyRecipe  # noqa: E402

SIZE_MIB = 256
STAGES = (
    *("data", "features", "tokenizer", "statistics", "ctc", "compress", "llm", "train", "lora", "average", "decode"),
    *("score", "pack"),
)
# Share of what the stage writes that there is room for; None: read-only.
ROOMS: dict[str, float | None] = {"full": 0.0, "half full": 0.5, "nearly full": 0.9, "read-only": None}


class NoMountError(Exception):
    """This user may not mount a tmpfs."""


@dataclass(frozen=True)
class Result:
    """How a stage ended on a disk without room.

    Attributes:
        stage: The stage.
        room: A name in ROOMS.
        first: "said" (a message with a path), "done" (it could do without), "FAULT" or "unnamed".
        resumed: "equal", "differs" or "failed".
        message: What it said.
    """

    stage: str
    room: str
    first: str
    resumed: str
    message: str

    @property
    def is_good(self) -> bool:
        """Whether it is as promised."""
        return self.first in ("said", "done") and self.resumed == "equal"


def mount(*words: str) -> None:
    """Call mount or umount.

    Raises:
        NoMountError: It is refused.
    """
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoMountError(str(error)) from error
    if result.returncode:
        raise NoMountError(result.stderr.strip())


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A tmpfs at a place, for a while."""
    place.mkdir(parents=True, exist_ok=True)
    mount("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place))
    try:
        yield place
    finally:
        mount("umount", "--lazy", str(place))


def fill(disk: Path, room: int) -> Path:
    """Leave so many bytes of room on a disk; the file that takes the rest."""
    filler = disk / "filler"
    with filler.open("wb") as stream:
        free = shutil.disk_usage(disk).free
        block = bytes(1 << 20)
        try:
            while free - stream.tell() > room + len(block):
                stream.write(block)
            stream.write(bytes(max(0, free - stream.tell() - room)))
            stream.flush()
        except OSError:  # the last pages are gone a little earlier than the numbers say
            pass
    return filler


class Bench:
    """The finished recipe, and copies of it in which one stage has not run.

    Args:
        work_dir: Where all of it is.
    """

    def __init__(self, work_dir: Path) -> None:
        self.disk = work_dir / "disk"
        self.base = TinyRecipe(self.disk / "recipe")
        self.kept = work_dir / "kept"

    def make(self, last: str) -> None:
        """Run the recipe where the disk will be, once, and keep each stage's outputs elsewhere.

        The paths that the recipe records are those of the disk, so every trial has them again.

        Args:
            last: The last stage that is needed.
        """
        if (self.kept / last / "files.json").is_file():
            return
        shutil.rmtree(self.kept, ignore_errors=True)
        with small_disk(self.disk):
            before: dict[str, int] = {}
            for name in STAGES[: STAGES.index(last) + 1]:
                ended = self.base.run_stage(name)
                if ended.how != "done":
                    raise RuntimeError(f"stage {name} of the tiny recipe: {ended.how}: {ended.text[-3000:]}")
                after = state_of(self.base.folder)
                changed = [path for path in after if after[path] != before.get(path)]
                shutil.copytree(self.base.folder, self.kept / name / "recipe", symlinks=True)
                (self.kept / name / "files.json").write_text(json.dumps(changed))
                before = after

    def try_once(self, stage: str, room: str) -> Result:
        """Run a stage without room, then with it."""
        changed = json.loads((self.kept / stage / "files.json").read_text())
        before = STAGES.index(stage) - 1
        with small_disk(self.disk):
            if before >= 0:
                shutil.copytree(self.kept / STAGES[before] / "recipe", self.base.folder, symlinks=True)
            else:
                self.base.folder.mkdir()
            share = ROOMS[room]
            if share is None:
                mount("mount", "-o", "remount,ro", str(self.disk))
                ended = self.base.run_stage(stage)
                mount("mount", "-o", "remount,rw", str(self.disk))
            else:
                written = sum((self.kept / stage / "recipe" / path).stat().st_size for path in changed)
                filler = fill(self.disk, int(written * share))
                ended = self.base.run_stage(stage)
                filler.unlink()
            again = self.base.run_stage(stage)
            if again.how != "done":
                return Result(stage, room, self.judge(ended), "failed", again.text[-2000:])
            differing = [path for path in changed if self.differs(stage, path)]
            message = f"differs: {differing[:5]}; {ended.message}" if differing else ended.message
            return Result(stage, room, self.judge(ended), "differs" if differing else "equal", message)

    def judge(self, ended: Ended) -> str:
        """How a stage without room ended."""
        if ended.how == "done":
            return "done"
        if ended.how != "refused":
            return "FAULT"
        return "said" if str(self.base.folder) in ended.message else "unnamed"

    def differs(self, stage: str, path: str) -> bool:
        """Whether an output is another one than that of the undisturbed run; see `compare_files`."""
        found, expected = self.base.folder / path, self.kept / stage / "recipe" / path
        if is_passing(path):
            return False
        return not found.is_file() or bool(compare_files(found, expected))


def is_passing(path: str) -> bool:
    """Whether a file is there only while a stage runs, or only if it ran in one piece."""
    return path.endswith(".lock") or ".tmp" in path or "previous" in path or "/log/" in path


def state_of(folder: Path) -> dict[str, int]:
    """When each file was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", required=True, help="gets the recipe and the mounted disk")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="which stages")
    parser.add_argument("--rooms", nargs="+", choices=[*ROOMS], default=[*ROOMS], help="which disks")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Try every stage; 1 if one does not end as promised, 0 with a message where nothing can be mounted."""
    args = get_parser().parse_args(cmd)
    bench = Bench(Path(args.work_dir).absolute())
    preload()
    results: list[Result] = []
    pairs = [(stage, room) for stage in args.stages for room in args.rooms]
    clock = TimeLeft(len(pairs))
    try:
        bench.make(max(args.stages, key=STAGES.index))
        for stage, room in pairs:
            result = bench.try_once(stage, room)
            results.append(result)
            said = "" if result.is_good else f": {result.message[-1500:]}"
            print(
                f"{clock.step()}: {stage}, {room}: {result.first}, {result.resumed}{said}", file=sys.stderr, flush=True
            )
    except NoMountError as error:
        print(f"SKIPPED: no tmpfs can be mounted here ({error}); run it as root", file=sys.stderr)
        return 0
    cells = {(result.stage, result.room): f"{result.first}, then {result.resumed}" for result in results}
    rows = [(stage, *(cells[stage, room] for room in args.rooms)) for stage in args.stages]
    print(format_table(("stage", *args.rooms), rows))
    return int(not all(result.is_good for result in results))


if __name__ == "__main__":
    sys.exit(main())
