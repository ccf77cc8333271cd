r"""Damage the files that the toolkit reads, each in many ways, and watch what it does about it.

    python3 tools/stress_input.py --work_dir /tmp/stress --cases 500
    python3 tools/stress_input.py --work_dir /tmp/stress --kinds TSV "packed zip" --seed 7
    python3 tools/stress_input.py --work_dir /tmp/stress --case 123      # again, with all that it prints

A case damages one file of a tiny, trained recipe and runs the commands that read it. It must end in one of two ways:
handled, where every utterance is in the output or counted among those left out; or refused, with exit status 1 and a
message that names the file. A traceback, a crash, a command that does not end, a message without the file's name, and
an utterance that disappears are faults. The report is <work_dir>/input.jsonl; the same command continues where it was
stopped, and --again forgets the report. Exit status 1 if there is any fault.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speechllama.markdown import format_table  # noqa: E402
from tools.stress.cases import KINDS  # noqa: E402
from tools.stress.forked import Ended, preload, run_chain  # noqa: E402
from tools.stress.kinds import SECONDS, Materials, Prepared  # noqa: E402
from tools.stress.mutations import MUTATIONS  # noqa: E402
from tools.stress.recipe import TimeLeft, TinyRecipe, describe_run  # noqa: E402

RESULTS = ("handled", "refused", "FAULT", "unnamed", "hang", "lost")
GOOD = ("handled", "refused")


@dataclass(frozen=True)
class Case:
    """One damaged file, and what came of it.

    Attributes:
        number: Which case, from 0; it and the seed say what is drawn.
        kind: A name in KINDS.
        mutation: A name in MUTATIONS.
        file: What was damaged.
        result: One of RESULTS.
        message: What the command said.
        command: Which command, where it did not end well.
    """

    number: int
    kind: str
    mutation: str
    file: str
    result: str
    message: str = ""
    command: str = ""


class Damage:
    """A damaged file, which is whole again afterwards, even after a kill of this tool.

    Args:
        work_dir: Keeps the whole file meanwhile.
    """

    def __init__(self, work_dir: Path) -> None:
        self.kept, self.place = work_dir / "whole_file", work_dir / "whole_file.place"

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file's content."""
        shutil.copy2(path, self.kept)
        self.place.write_text(str(path))
        path.write_bytes(content)

    def repair(self) -> None:
        """Put the whole file back."""
        if self.place.is_file():
            path = Path(self.place.read_text())
            if path.parent.is_dir():
                shutil.copy2(self.kept, path)
            self.place.unlink()


class Drawn(NamedTuple):
    """What a case will be: its number, a name in KINDS, a name in MUTATIONS, and the seed of all cases."""

    number: int
    kind: str
    mutation: str
    seed: int


def run_case(made: Materials, work_dir: Path, drawn: Drawn) -> Case:
    """Damage a file, run what reads it, and judge."""
    out = work_dir / "case"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    draw, damage = random.Random(f"{drawn.seed} {drawn.number}"), Damage(work_dir)
    prepared = KINDS[drawn.kind](made, out)
    path = draw.choice(prepared.files)
    whole = path.read_bytes()
    damage.write(path, MUTATIONS[drawn.mutation](whole, draw))
    try:
        result, message, command = judge(prepared, path, out)
    finally:
        damage.repair()
    return Case(*drawn[:3], path.name, result, message, command)


def judge(prepared: Prepared, path: Path, out: Path) -> tuple[str, str, str]:
    """Run the chains of a case; its result, what was said, and by which command."""
    ended: list[Ended] = []
    result, message, command = "handled", "", ""
    for chain in prepared.chains:
        call, last = run_chain(chain, out, SECONDS)
        ended.append(last)
        found = judge_ending(last, path, prepared.named_as)
        if RESULTS.index(found) > RESULTS.index(result) or (found == result == "refused" and not message):
            result, message, command = found, last.message if found != "FAULT" else last.text[-3000:], str(call)
    if result == "handled":
        lost = prepared.lost([last.text for last in ended])
        if lost:
            return "lost", lost, "; ".join(str(chain[-1]) for chain in prepared.chains)
    return result, message, command


def judge_ending(ended: Ended, path: Path, named_as: Sequence[str] = ()) -> str:
    """One of RESULTS for a chain that has ended."""
    if ended.how == "done":
        return "handled"
    if ended.how == "refused":
        is_named = is_file_named(ended.message, path) or any(name in ended.message for name in named_as)
        return "refused" if is_named else "unnamed"
    return "hang" if ended.how == "hang" else "FAULT"


def is_file_named(message: str, path: Path) -> bool:
    """Whether a message names a file: by a path that ends as its own does, or by its name, and not by a word like it.

    A name without a dot, such as `text`, is also a word; without a path it counts only before a colon: `text:3: ...`.
    """
    for word in re.findall(r"[^\s'\"()<>,;]+", message):
        place = re.sub(r"(:\d+)*[:.]*$", "", word)
        if "/" in place and (str(path).endswith(f"/{place.lstrip('./')}") or place == str(path)):
            return True
        if place == path.name and ("." in place or ":" in word):
            return True
    return False


def draw_cases(kinds: Sequence[str], total: int, seed: int) -> list[Drawn]:
    """The cases: all pairs of kind and mutation in turn, so that the first ones have some of every kind."""
    names, num_kinds = [*MUTATIONS], len(kinds)
    mutations = [names[(number % num_kinds + number // num_kinds) % len(names)] for number in range(total)]
    return [Drawn(number, kinds[number % num_kinds], mutations[number], seed) for number in range(total)]


def format_cases(cases: Sequence[Case]) -> str:
    """Write two tables: how the cases of each kind of file ended, and those of each mutation."""
    tables = []
    for title, names in (("kind", KINDS), ("mutation", MUTATIONS)):
        rows = []
        for name in names:
            counts = Counter(case.result for case in cases if getattr(case, title) == name)
            if counts:
                rows.append((name, str(counts.total()), *(str(counts[result]) for result in RESULTS)))
        counts = Counter(case.result for case in cases)
        rows.append(("all", str(counts.total()), *(str(counts[result]) for result in RESULTS)))
        tables.append(format_table((title, "cases", *RESULTS), rows))
    return "\n".join(tables)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", required=True, help="gets the recipe and the report")
    parser.add_argument("--cases", type=int, default=500, help="cases, of all kinds and mutations in turn")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS], help="which kinds of files")
    parser.add_argument("--seed", type=int, default=1, help="of file, place and value")
    parser.add_argument("--case", type=int, help="run this one again, and print all about it")
    parser.add_argument("--again", action="store_true", help="forget the report of an earlier run")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the cases that the report does not have yet; 1 if there is a fault."""
    args = get_parser().parse_args(cmd)
    work_dir = Path(args.work_dir).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    report = work_dir / "input.jsonl"
    if args.again:
        report.unlink(missing_ok=True)
    Damage(work_dir).repair()
    preload()
    recipe = TinyRecipe(work_dir / "base")
    recipe.make()
    made = Materials(recipe, work_dir / "more")
    drawn = draw_cases(args.kinds, max(args.cases, (args.case or 0) + 1), args.seed)
    if args.case is not None:
        case = run_case(made, work_dir, drawn[args.case])
        print(json.dumps(asdict(case), indent=2, ensure_ascii=False).replace("\\n", "\n"))
        return int(case.result not in GOOD)
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
    done = {line["case"]["number"]: Case(**line["case"]) for line in lines if line["seed"] == args.seed}
    cases = [done[each.number] for each in drawn if each.number in done]
    cases = [case for case in cases if drawn[case.number][1:3] == (case.kind, case.mutation)]
    left = sorted(set(range(len(drawn))) - {case.number for case in cases})
    clock, about = TimeLeft(len(left)), describe_run()
    for number in left:
        case = run_case(made, work_dir, drawn[number])
        cases.append(case)
        with report.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"seed": args.seed, "case": asdict(case), **about}, ensure_ascii=False) + "\n")
        said = f": {case.message[-600:]}" if case.result not in GOOD else ""
        what = f"case {number}, {case.kind} x {case.mutation} ({case.file}): {case.result}{said}"
        print(f"{clock.step()}: {what}", file=sys.stderr, flush=True)
    print(format_cases(cases))
    print(f"\n{len(cases)} cases, seed {args.seed}, report {report}")
    return int(any(case.result not in GOOD for case in cases))


if __name__ == "__main__":
    sys.exit(main())
