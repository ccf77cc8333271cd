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
from speechllama.options import UsageError, parse, to_words
from speechllama.recipe.corpora import CORPORA, Corpus, SizeEstimate, Sources
from speechllama.recipe.front_end import SelectedFrontEnd, select_front_end
from speechllama.recipe.layout import Layout
from speechllama.recipe.options import CORPUS_PLACES, Options
from speechllama.recipe.remembered import remembered_corpus
from speechllama.recipe.search import read_search
from speechllama.recipe.stages import STAGES, Stage, stage_number
from speechllama.recipe.system import SHARED, SYSTEM_KEYS, ConfFolders, Config, Selection, select_system

# Options that say how this call runs, not what it runs.
CALL = ("stage", "list", "dry_run", "help", "cmd", "python")
# Options that hold options of single commands.
FURTHER = ("feature_options", "ctc_options", "llm_options", "train_options", "decode_options")
# The recipe's option of this name belongs to decoding; trainings have ESPnet's option of the same name.
OF_DECODING = "batch_size"
OF_FRONT_ENDS = "frontend_conf"
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
        return (*words, *options.data_options.split())

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
    _check_further(options)
    folders = ConfFolders(options.size)
    front_end = select_front_end(options.frontend, options.frontend_path, folders)
    plan = Plan(options, folders, front_end, select_system(options.system, folders), Path.cwd().name)
    _check_llm(plan)
    _check_adapter(plan)
    _check_task(plan)
    _check_ctc(plan)
    _check_labels(plan)
    _check_places(plan)
    _ = plan.search
    # A YAML without units is refused before anything runs, and so is a wrong option of the corpus.
    if plan.layout.has_own_units:
        _check_own_head(plan)
    else:
        _ = plan.layout.units
    if options.target_words and plan.corpus and "target_lang" not in vars(plan.corpus.options()):
        raise UsageError(
            f"--target_lang {options.target_lang}: the corpus {plan.corpus.name} is translated into English"
        )
    if options.direction_words and not (plan.corpus and "direction" in vars(plan.corpus.options())):
        raise UsageError(f"--direction {options.direction}: only CoVoST 2 has it (--corpus_kind covost2)")
    try:
        _ = plan.data_options
    except UsageError as error:
        raise UsageError(f"--data_options: {error}") from error
    return plan


def _check_further(options: Options) -> None:
    """Refuse options of single commands that would contradict the stages or be ignored."""
    known = {field.name for field in dataclasses.fields(Options)}
    faults = []
    for holder in FURTHER:
        for word in getattr(options, holder).split():
            name = word.removeprefix("--").partition("=")[0]
            if not word.startswith("--") or name not in {*known, *SYSTEM_KEYS, OF_FRONT_ENDS}:
                continue
            if name == OF_DECODING and holder != "decode_options":
                continue
            advice = "give it to the recipe itself"
            if name == OF_FRONT_ENDS:
                advice = "write it into a YAML of conf/frontend and choose that with --frontend"
            elif name not in known:
                advice = "write it into a system's YAML and choose that with --system"
            faults.append(f"--{holder} holds --{name}, which the stages must know: {advice}")
    if faults:
        raise UsageError("; ".join(faults))


def _check_places(plan: Plan) -> None:
    """Refuse a place of a corpus that this corpus has not: it would be ignored."""
    for name in CORPUS_PLACES:
        if plan.corpus and getattr(plan.options, name) and name not in plan.corpus.places:
            own = " and ".join(f"--{place}" for place in plan.corpus.places)
            hint = f"; where it is, say {own}" if own else ""
            raise UsageError(f"--{name}: the corpus {plan.corpus.name} has no such option (local/data.sh --help){hint}")


def _check_ctc(plan: Plan) -> None:
    """Refuse CTC as a system for a task that writes something else than CTC has learned."""
    task, learned = plan.layout.base_task, plan.options.ctc_target
    if plan.selection.cascade and plan.selection.system.is_ctc and learned != task.ctc_target:
        raise UsageError(f"--system {plan.selection.name}: a cascade needs transcripts, and CTC learns the {learned}")
    if plan.selection.system.is_ctc and task.reference != plan.layout.ctc_table:
        raise UsageError(
            f"--system {plan.selection.name}: CTC learns the {learned}, but --task {task.name} writes "
            f"`{task.reference}`; give --task asr, or --ctc_target translation for translation"
        )


def _check_task(plan: Plan) -> None:
    """Refuse a task with several parts where nothing can be trained for it."""
    task, selection = plan.layout.task, plan.selection
    if selection.cascade and (task.parts or not task.is_translation):
        raise UsageError(
            f"--system {selection.name}: a cascade translates, and --task {task.name} does not; drop --task"
        )
    if not task.parts:
        return
    why = ""
    if selection.system.is_seq2seq or selection.system.is_ctc:
        why = "needs an LLM, whose prompt says what to write"
    elif selection.scratch_llm:
        why = "needs an LLM that knows both languages, and this one is made of translations"
    elif selection.rescoring:
        why = "has several texts in an output, and a rescoring system reads one"
    if why:
        raise UsageError(f"--system {selection.name}: the task {task.name} {why}; choose a system such as e5 or e6")


def _check_labels(plan: Plan) -> None:
    """Refuse an encoder-decoder for labels: its CTC head would learn them in place of what is said."""
    task, system = plan.layout.task, plan.selection.system
    if task.is_label and system.is_seq2seq:
        raise UsageError(
            f"--system {plan.selection.name}: an encoder-decoder learns one text with CTC and attention, but --task "
            f"{task.name} writes labels (`{task.reference}`); choose a system with an LLM, such as e6"
        )


def _check_own_head(plan: Plan) -> None:
    """Refuse options of CTC training where CTC comes with the front end: they would be ignored."""
    options = plan.options
    given = {"ctc_units": options.ctc_units, "ctc_options": options.ctc_options}
    given["ctc_target"] = options.ctc_target if plan.layout.ctc_target == "translation" else ""
    for name, value in given.items():
        if value:
            raise UsageError(
                f"--{name} {value}: the front end {plan.front_end.name} brings its own CTC head (ctc_head: true), "
                "which writes transcripts in its own units; drop the option, or ctc_head"
            )


def _check_llm(plan: Plan) -> None:
    """Refuse a run without an LLM, and an LLM that cannot be packed."""
    options = plan.options
    if options.pack_llm and options.llm and not Path(options.llm).exists():
        raise UsageError(
            "--pack_llm true needs --llm DIRECTORY; an LLM of the hub stays there, so give --pack_llm false"
        )
    has_llm = options.llm or plan.selection.scratch_llm or plan.folders.has("llm")
    if plan.selection.needs_llm and not has_llm and not options.list and options.stop_stage >= stage_number("llm"):
        raise UsageError(
            f"--llm is needed from stage llm on: there is no llm.yaml in {plan.folders.conf_path} to train one with"
        )


def _check_adapter(plan: Plan) -> None:
    """Refuse adapters to start from where no stage trains adapters: they would be ignored."""
    options, selection = plan.options, plan.selection
    if options.init_adapter and selection.system.init is None:
        raise UsageError(
            f"--init_adapter {options.init_adapter}: {selection.name} has no stage lora (no init_system); choose a "
            "LoRA system such as e4, e6 or u"
        )


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
