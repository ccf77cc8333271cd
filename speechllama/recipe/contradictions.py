"""Refuse a plan whose options contradict each other, the system, the task or the corpus, before anything runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.options import UsageError, split_further
from speechllama.recipe.options import CORPUS_PLACES, Options
from speechllama.recipe.stages import stage_number
from speechllama.recipe.system import SYSTEM_KEYS, TEACHER, TEACHER_CONF

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan

# Options that hold options of single commands.
FURTHER = ("feature_options", "ctc_options", "llm_options", "train_options", "decode_options")
# The recipe's option of this name belongs to decoding; trainings have ESPnet's option of the same name.
OF_DECODING = "batch_size"
OF_FRONT_ENDS = "frontend_conf"


def check_further(options: Options) -> None:
    """Refuse options of single commands that would contradict the stages or be ignored."""
    known = {field.name for field in dataclasses.fields(Options)}
    faults = []
    for holder in FURTHER:
        for word in split_further(getattr(options, holder)):
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


def check_plan(plan: Plan) -> None:
    """Refuse a plan that cannot run, or would ignore an option.

    Raises:
        UsageError: Options or a YAML contradict each other; the message says what to change.
    """
    _check_llm(plan)
    _check_adapter(plan)
    _check_task(plan)
    _check_ctc(plan)
    _check_labels(plan)
    _check_teacher(plan)
    _check_places(plan)
    _ = plan.search  # a wrong option of the search is refused
    if plan.layout.has_own_units:
        _check_own_head(plan)
    else:
        _ = plan.layout.units  # so is a YAML without units
    _check_corpus(plan)


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


def _check_labels(plan: Plan) -> None:
    """Refuse an encoder-decoder for labels: its CTC head would learn them in place of what is said."""
    task, system = plan.layout.task, plan.selection.system
    if task.is_label and system.is_seq2seq:
        raise UsageError(
            f"--system {plan.selection.name}: an encoder-decoder learns one text with CTC and attention, but --task "
            f"{task.name} writes labels (`{task.reference}`); choose a system with an LLM, such as e6"
        )


def _check_teacher(plan: Plan) -> None:
    """Refuse what cannot learn the texts of another system, and what cannot teach."""
    system = plan.selection.system
    each = [one for one in (system, system.init) if one]
    for one in each:
        if not one.teacher and one.config.settings.get(TEACHER_CONF):
            raise UsageError(f"{one.config.path}: {TEACHER_CONF} would be ignored: there is no {TEACHER}")
    students, task = [one for one in each if one.teacher], plan.layout.base_task
    if not students:
        return
    student, where = students[0], f"{students[0].config.path}: {TEACHER} {students[0].teacher}"
    try:
        searches = [one.teacher_conf for one in students]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len({(one.teacher, search) for one, search in zip(students, searches, strict=True)}) > 1:
        raise UsageError(
            f"{where}: it starts from {students[1].name}, whose teacher {students[1].teacher} is another one or "
            f"searches otherwise; give both the same {TEACHER} and {TEACHER_CONF}"
        )
    if student.is_seq2seq:
        raise UsageError(
            f"{where}: the batches of an encoder-decoder are made of the references, by stage statistics; a student is "
            "a system with an LLM, such as e5"
        )
    if task.parts or task.is_label:
        what = "several" if task.parts else "labels"
        raise UsageError(
            f"{where}: a teacher writes one text of each utterance, and --task {task.name} has {what}; give --task st "
            "or asr"
        )
    teacher = plan.teacher
    assert teacher is not None
    chosen = teacher.selection
    if chosen.configs or chosen.system.is_ctc or chosen.student:
        raise UsageError(f"{where}: name a system that learns references itself, such as e6")
    try:
        check_plan(teacher)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _check_places(plan: Plan) -> None:
    """Refuse a place of a corpus that this corpus has not: it would be ignored."""
    for name in CORPUS_PLACES:
        if plan.corpus and getattr(plan.options, name) and name not in plan.corpus.places:
            own = " and ".join(f"--{place}" for place in plan.corpus.places)
            hint = f"; where it is, say {own}" if own else ""
            raise UsageError(f"--{name}: the corpus {plan.corpus.name} has no such option (local/data.sh --help){hint}")


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


def _check_corpus(plan: Plan) -> None:
    """Refuse options that the corpus does not have."""
    options = plan.options
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
