"""Plan a run of a recipe: its options, its system, its paths, and its stages in order.

    run.sh's own settings, the user's words -> Plan -> rows for utils/stages.sh, which runs them

The preflight and the table of systems take the same object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speechllama.corpora.options import DataOptions
from speechllama.decode.search_config import SearchConfig
from speechllama.options import UsageError, parse, split_further, to_words
from speechllama.recipe.contradictions import check_further, check_plan
from speechllama.recipe.corpora import CORPORA, Corpus, SizeEstimate, Sources
from speechllama.recipe.front_end import SelectedFrontEnd, select_front_end
from speechllama.recipe.layout import Layout
from speechllama.recipe.options import CORPUS_PLACES, Options
from speechllama.recipe.remembered import remembered_corpus
from speechllama.recipe.search import read_search
from speechllama.recipe.stages import STAGES, Stage
from speechllama.recipe.system import SHARED, ConfFolders, Config, Selection, select_system

# Options that say how this call runs, not what it runs.
CALL = ("stage", "list", "dry_run", "help", "cmd", "python")
# What the shell must know of the options to run the rows.
SHELL = ("stage", "stop_stage", "list", "dry_run", "ngpu", "num_nodes", "python")


@dataclass(frozen=True)
class Plan:
    """A planned run.

    Attributes:
        options: Its options, with the user's paths made absolute.
        folders: Where YAML files are looked for.
        front_end: Its front end.
        selection: Its system.
        recipe_name: Name of the recipe's directory, in which all commands run.
    """

    options: Options
    folders: ConfFolders
    front_end: SelectedFrontEnd
    selection: Selection
    recipe_name: str

    @cached_property
    def layout(self) -> Layout:
        """Where everything lies."""
        return Layout(self.options, self.selection, self.folders, self.front_end)

    @cached_property
    def teacher(self) -> Plan | None:
        """The run of the teacher whose texts the system, or the one that it starts from, learns; None without one.

        Options of trials of the student, such as `--train_options` and `--tag`, are not those of its teacher.
        """
        student = self.selection.student
        if student is None:
            return None
        search = student.teacher_conf
        options = dataclasses.replace(
            self.options,
            system=student.teacher,
            task=self.layout.base_task.name,
            tag="",
            train_options="",
            init_adapter="",
            comet_model="",
            sets="train",
            subset=0,
            beam_size=search.beam_size,
            decode_options=search.decode_options,
        )
        return dataclasses.replace(self, options=options, selection=select_system(student.teacher, self.folders))

    @property
    def words(self) -> tuple[str, ...]:
        """Options that give the same plan again in the recipe's directory."""
        return tuple(to_words(without_call(self.options)))

    @property
    def shared_prompts(self) -> Config | None:
        """The YAML with the prompts that all systems share, where it has any; the recipe's own LLM learns them."""
        config = self.folders.read(SHARED) if self.folders.has(SHARED) else None
        return config if config and config.settings.get("prompt_conf") else None

    @property
    def corpus(self) -> Corpus | None:
        """What stage data prepares; None for a corpus that only its own local/data.sh knows."""
        return CORPORA[self.options.corpus_kind] if self.options.corpus_kind else None

    @property
    def places(self) -> Mapping[str, str]:
        """Where the corpus lies, by option: as the user says, else below `--downloads`."""
        if self.corpus:
            names = self.corpus.places
            return {name: getattr(self.options, name) or f"{self.options.downloads}/{name}" for name in names}
        return {name: getattr(self.options, name) for name in CORPUS_PLACES if getattr(self.options, name)}

    @property
    def data_words(self) -> tuple[str, ...]:
        """Options of local/data.sh."""
        options = self.options
        words = ["--langs", options.langs, "--datadir", options.datadir, "--downloads", options.downloads]
        words += ["--nj", str(options.nj), *options.target_words, *options.direction_words]
        for name, place in self.places.items():
            words += [f"--{name}", place]
        return (*words, *split_further(options.data_options))

    @cached_property
    def search(self) -> SearchConfig:
        """Settings of the search of stage decode, for what they cost.

        Raises:
            UsageError: They contradict each other or the system.
        """
        return read_search(self.options, self.selection)

    @cached_property
    def data_options(self) -> DataOptions | None:
        """The options of local/data.sh as the corpus reads them; None for a corpus without a record.

        Raises:
            UsageError: The corpus has no such option.
        """
        return parse(self.corpus.options, self.data_words) if self.corpus else None

    @cached_property
    def sources(self) -> Sources:
        """The files that the corpus is made of, those that exist."""
        return self.corpus.find_sources(self.data_options) if self.corpus else Sources()

    def estimate_corpus(self) -> SizeEstimate:
        """What is known of the corpus before it is prepared."""
        return self.corpus.estimate(self.data_options) if self.corpus else SizeEstimate()

    def stages(self) -> Iterator[tuple[int, Stage]]:
        """Give every stage with its number; parts of a stage share it."""
        for number, make in enumerate(STAGES):
            for stage in make(self):
                yield number, stage

    def shared_dirs(self) -> list[str]:
        """Directories that this run reads and that other runs may read at the same time."""
        layout, system = self.layout, self.selection.system
        read = [layout.dumpdir, layout.init_dir, layout.llm_dir if self.selection.needs_llm else ""]
        read += [layout.ctc_dir if system.freezes_encoder else ""]
        read += [layout.base_dir if layout.base_dir != layout.system_dir else ""]
        if self.teacher:
            read += [self.teacher.layout.base_dir, *self.teacher.shared_dirs()]
            read = [*dict.fromkeys(folder for folder in read if folder != layout.system_dir)]
        return [folder for folder in read if folder]


def without_call(options: Options) -> Options:
    """Reset the options that say how this call runs, not what it runs."""
    fresh: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Options) if field.name in CALL}
    return dataclasses.replace(options, **fresh)


def make_plan(words: Sequence[str], settings: Sequence[str] = ()) -> Plan:
    """Plan a run; called in the recipe's directory.

    Args:
        words: The user's options; paths count from the recipe's directory, see `absolute_places`.
        settings: The recipe's own, which the user's override.

    Returns:
        The plan.

    Raises:
        UsageError: Options or a YAML are wrong, or contradict each other; the message has all faults of a kind.
    """
    options = parse(Options, words, settings)
    if not options.corpus:
        options = dataclasses.replace(options, corpus=remembered_corpus(options.datadir))
    check_further(options)
    folders = ConfFolders(options.size)
    front_end = select_front_end(options.frontend, options.frontend_path, folders)
    plan = Plan(options, folders, front_end, select_system(options.system, folders), Path.cwd().name)
    check_plan(plan)
    return plan


def plan_records(plan: Plan, template_cmd: Path) -> Iterator[tuple[str, ...]]:
    """Give the plan as records of words, which utils/stages.sh reads.

    A record is a key and its words:
        set NAME VALUE                               a variable of the shell
        cmd FILE                                     where jobs run
        hold MODE DIR                                a lock of this run: exclusive or shared
        stage NUMBER NAME MARKER TITLE SETTINGS SKIP a row; the following records belong to it
        input PATH..., output PATH..., show PATH...  its files
        replan                                       the plan is made again when the row has run
        early                                        it may start before its turn
        clear HOW SHARED PATH...                     what is removed before it starts again
        job KIND NUMBER LOG WORD...                  its commands, in order

    Args:
        plan: The run.
        template_cmd: The cmd.sh that is used if neither the user nor the recipe has one.

    Raises:
        UsageError: The file of `--cmd` does not exist.
    """
    options, layout = plan.options, plan.layout
    for name in SHELL:
        value = getattr(options, name)
        yield "set", name, str(value).lower() if isinstance(value, bool) else str(value)
    yield "set", "system_dir", layout.system_dir
    yield "cmd", find_cmd(options, template_cmd)
    yield "hold", "exclusive", layout.system_dir
    yield from (("hold", "shared", folder) for folder in plan.shared_dirs())
    for number, stage in plan.stages():
        yield from stage_records(number, stage)


def stage_records(number: int, stage: Stage) -> Iterator[tuple[str, ...]]:
    """Give a row's records; see `plan_records`."""
    yield "stage", str(number), stage.name, stage.marker, stage.title, stage.settings, stage.skip
    yield "input", *stage.inputs
    yield "output", *stage.outputs
    yield "show", *stage.shows
    if stage.replan:
        yield ("replan",)
    if stage.early:
        yield ("early",)
    for clear in stage.clears:
        yield "clear", clear.how, clear.shared, *clear.paths
    for job in stage.jobs:
        yield "job", job.kind, str(job.number), job.log, *job.command


def find_cmd(options: Options, template: Path) -> str:
    """Find the file that says where jobs run: the user's, the recipe's, or the template's.

    Raises:
        UsageError: The file of `--cmd` does not exist.
    """
    if options.cmd and not Path(options.cmd).is_file():
        raise UsageError(f"--cmd {options.cmd!r} is no file")
    own = Path("cmd.sh").absolute()
    return options.cmd or str(own if own.is_file() else template)
