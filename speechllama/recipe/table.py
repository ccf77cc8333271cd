"""A table of many systems: its rows, each a run of the recipe, and the stage that writes it.

--systems "E5 E6:asr" --seeds "1 2", options of run.sh -> rows with their plans -> records for egs/TEMPLATE/table.sh
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.options import UsageError, parse, to_words
from speechllama.recipe.front_end import front_end_names
from speechllama.recipe.layout import table_dir
from speechllama.recipe.options import Options, TableOptions, split_words
from speechllama.recipe.plan import Plan, find_cmd, make_plan, stage_records, without_call
from speechllama.recipe.stages import Job, Stage, module, stage_number
from speechllama.text.tasks import TASKS

if TYPE_CHECKING:
    from speechllama.report.table.run import RunPaths

LAST_STAGE = "score"
RECORDS = ("training.json", "average.json")  # what the table reads of a training


@dataclass(frozen=True)
class Row:
    """A row of the table: a system with a seed.

    Attributes:
        name: The system and its variants: "e6:asr".
        seed: Its seed.
        words: The options of run.sh that make it.
        plan: The run.
    """

    name: str
    seed: str
    words: tuple[str, ...]
    plan: Plan

    @property
    def place(self) -> str:
        """Path of its log and of the note of its failure, without their suffixes."""
        return f"{table_dir(self.plan.options.expdir)}/{self.name}.seed{self.seed}"

    def paths(self) -> list[RunPaths]:
        """Paths of everything that it writes, one record for each scored set, in the order of `--sets`.

        Of a task with several parts, each part of a set has a record, as a row of its own.
        """
        layout = self.plan.layout
        parts = [task.name for task in layout.task.scored]
        names = map(layout.part_of, self.plan.options.set_names)
        return [self._paths_of(name, part) for name in names for part in sorted(parts, key=layout.part_suffix)]

    def _paths_of(self, scored: str, part: str) -> RunPaths:
        from speechllama.report.table.run import RunPaths

        layout, system = self.plan.layout, self.plan.selection.system
        has_ctc = system.freezes_encoder
        return RunPaths(
            row=f"{self.name}:{part}" if layout.part_suffix(part) else self.name,
            seed=int(self.seed),
            failed=f"{self.place}.failed",
            system_dir=layout.system_dir,
            base_dir=layout.base_dir,
            init_dir=layout.init_dir,
            ctc_dir=layout.ctc_dir if has_ctc else "",
            compressed_dir=layout.compressed_dir if has_ctc and not system.is_ctc else "",
            llm_dir=layout.llm_dir if self.plan.selection.needs_llm else "",
            decode_dir=layout.decoded(scored, part=part),
            data_dir=layout.dump(scored),
            set_name=scored,
        )


@dataclass(frozen=True)
class TablePlan:
    """A table.

    Attributes:
        options: Its own options; names in lower case, and names and seeds each once.
        shared: Options of run.sh that all rows have.
        rows: Its rows, seed by seed.
    """

    options: TableOptions
    shared: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def expdir(self) -> str:
        """Experiments of all rows."""
        return self.rows[0].plan.options.expdir

    def run_paths(self) -> list[RunPaths]:
        """Paths of what all rows write, in the order of the page."""
        return [paths for row in self.rows for paths in row.paths()]

    def stage(self) -> Stage:
        """The stage that writes the table, from what the rows have written so far."""
        folder = table_dir(self.expdir)
        failed = [(row, Path(f"{row.place}.failed")) for row in self.rows]
        made = "".join(f" {row.name}.{row.seed}: {path.read_text().strip()}" for row, path in failed if path.is_file())
        inputs: dict[str, None] = {}
        for paths in self.run_paths():
            inputs |= dict.fromkeys([f"{paths.decode_dir}/score.json", f"{paths.decode_dir}/text"])
            trained = (paths.system_dir, paths.base_dir, paths.init_dir, paths.ctc_dir, paths.llm_dir)
            inputs |= dict.fromkeys(f"{place}/{name}" for place in trained if place for name in RECORDS)
        options = self.options
        return Stage(
            "table",
            f"the table ({self.expdir}/RESULTS.md, {folder})",
            f"{folder}/.table.done",
            f"systems={options.systems} seeds={options.seeds} reference={options.reference} failed={made}",
            inputs=tuple(path for path in inputs if Path(path).is_file()),
            outputs=(f"{folder}/table.json", f"{folder}/scores.svg", f"{self.expdir}/CLAIMS.md"),
            jobs=(Job("check", module("write_table", *to_words(options), *self.shared)),),
        )


def plan_table(words: Sequence[str], table_settings: Sequence[str], run_settings: Sequence[str]) -> TablePlan:
    """Plan a table; called in the recipe's directory.

    Args:
        words: The user's words.
        table_settings: Settings of run_table.sh.
        run_settings: Settings of run.sh.

    Raises:
        UsageError: Options are wrong, or rows cannot be run.
    """
    own, further = split_words(words)
    options = parse(TableOptions, own, table_settings)
    names = " ".join(dict.fromkeys(options.systems.lower().split()))
    seeds = " ".join(dict.fromkeys(options.seeds.split()))
    options = dataclasses.replace(options, systems=names, seeds=seeds, reference=options.reference.lower())
    if options.reference not in names.split():
        raise UsageError(f"--reference: unknown row {options.reference!r}, expected one of {names}")
    rows = []
    for seed in seeds.split():
        for name in names.split():
            row_words = ("--stop_stage", str(stage_number(LAST_STAGE)), *further, *row_options(name, seed))
            rows.append(Row(name, seed, row_words, make_plan(row_words, run_settings)))
    shared = without_call(parse(Options, further, run_settings))
    return TablePlan(options, tuple(to_words(shared)), tuple(rows))


def row_options(name: str, seed: str) -> list[str]:
    """Options of run.sh for a row: a system and its variants.

    Raises:
        UsageError: An unknown variant.
    """
    system, *variants = name.split(":")
    words = ["--system", system, "--seed", seed]
    tasks = [variant for variant in variants if variant in TASKS]
    if len(tasks) > 1:
        hint = f"; the row {system}:{tasks[0]} has the scores of each" if tasks[1] in TASKS[tasks[0]].parts else ""
        raise UsageError(f"--systems: {name!r} names {len(tasks)} tasks, {' and '.join(tasks)}{hint}")
    for variant in variants:
        if variant in TASKS:
            words += ["--task", variant]
        elif variant == "ctc_translation":
            words += ["--ctc_target", "translation"]
        elif variant in front_end_names():
            words += ["--frontend", variant]
        else:
            known = ", ".join([*TASKS, "ctc_translation", *front_end_names()])
            raise UsageError(f"--systems: {name!r}: unknown variant {variant!r}, expected one of {known}")
    return words


def table_records(plan: TablePlan, template_cmd: Path) -> Iterator[tuple[str, ...]]:
    """Give the table as records for the shell; see `plan_records`.

    A further record for each row: row NAME SEED PLACE SYSTEM_DIR WORD..., with the options of run.sh.

    Args:
        plan: The table.
        template_cmd: Where jobs run unless the user or the recipe says otherwise.

    Raises:
        UsageError: The user's `--cmd` is not there.
    """
    first = plan.rows[0].plan.options
    for name in ("list", "dry_run", "num_nodes"):
        yield "set", name, str(getattr(first, name)).lower()
    yield "cmd", find_cmd(first, template_cmd)  # what is wrong with it is said once, before the first row
    yield "set", "stage", "1"
    yield "set", "stop_stage", "1"
    yield "set", "table_dir", table_dir(plan.expdir)
    for row in plan.rows:
        yield "row", row.name, row.seed, row.place, row.plan.layout.system_dir, *row.words
    yield from stage_records(1, plan.stage())
