"""The stages of a system: its LLM, its trainings, the mean of the best epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.data.data_dir import TARGET_TABLE
from speechllama.options import split_further
from speechllama.recipe.stages.commands import (
    as_seen_here,
    average_job,
    config_words,
    data_options,
    given,
    statistics_files,
    train_on_features,
    trainer,
    training_features,
)
from speechllama.recipe.stages.records import Clear, Job, Stage, module, tables
from speechllama.recipe.system import System
from speechllama.text.tasks import TABLES

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


def llm(plan: Plan) -> list[Stage]:
    """The LLM: given, trained by the recipe, or only its shape."""
    options, layout, folder = plan.options, plan.layout, plan.layout.llm_dir
    if not plan.selection.needs_llm:
        return [Stage("llm", skip=f"{plan.selection.name} has no LLM")]
    inputs: tuple[str, ...] = ()
    settings = f"llm={options.llm} revision={options.revision} llm_options={options.llm_options}"
    on_gpu, is_own = int(options.ngpu > 0), False
    if plan.selection.scratch_llm:
        shape, text = plan.folders.read(plan.selection.scratch_llm), layout.data("train", layout.task.reference)
        words = ["--text", text, *(("--task", options.task) if layout.task.is_label else ()), "--output_dir", folder]
        command = module("make_scratch_llm", *config_words(plan, shape), *words)
        settings, inputs = "", (*shape.files, text)
    elif options.llm:
        words = ["--llm", options.llm, *given("revision", options.revision), *given("token_file", options.token_file)]
        further = split_further(options.llm_options)
        command = module("prepare_llm", *words, "--output_dir", folder, "--ngpu", on_gpu, *further)
        places = (options.llm, f"{options.llm}/config.json")  # a GGUF file, or a directory's
        inputs = tuple(as_seen_here(place) for place in places if Path(place).is_file())
    elif layout.llm:
        words = ["--text", layout.llm_text, "--dev_dir", layout.data("dev"), "--output_dir", folder]
        prompts = plan.shared_prompts
        further = [*given("prompt_config", prompts.path if prompts else ""), *given("seed", options.seed)]
        further += [*options.target_words, *split_further(options.llm_options)]
        command = module("train_text_llm", *config_words(plan, layout.llm), *words, "--ngpu", on_gpu, *further)
        dev = tables([layout.data("dev")], ("src_text", "text", "utt2lang", *_optional(layout.data("dev"))))
        inputs = (*layout.llm.files, layout.llm_text, *dev, *(prompts.files if prompts else ()))
        is_own = True
    else:  # reached only by --list and by runs that stop before this stage
        command = module("prepare_llm", "--output_dir", folder)
    return [
        Stage(
            "llm",
            f"LLM ({folder})",
            f"{folder}/.llm.done",
            settings,
            inputs=inputs,
            outputs=(f"{folder}/llm.json",),
            jobs=(Job("gpu", command, f"{folder}/llm.log"),),
            clears=(Clear("move_aside", (folder,), folder),),
            shows=(f"{folder}/report.md",),
            early=is_own,
        )
    ]


def train(plan: Plan) -> list[Stage]:
    """Training of the audio encoder, of the encoder-decoder, or of the system from which a LoRA system starts."""
    if plan.selection.system.is_ctc:
        return [_only_ctc(plan, "train")]
    options, layout, system = plan.options, plan.layout, plan.selection.system
    first, folder = system.init or system, layout.init_dir or layout.base_dir
    settings = _training_settings(plan, first)
    if system.is_seq2seq:
        jobs = [train_on_features(plan, "seq2seq_train", first.config, folder, options.train_options)]
        inputs = (layout.tokenizer, *statistics_files(plan), *training_features(plan))
    else:
        jobs = _train_system(plan, first, folder)
        inputs = (*_system_inputs(plan, first), *_text_inputs(plan, first))
    return [
        Stage(
            "train",
            f"{'encoder-decoder' if system.is_seq2seq else 'audio-encoder'} training ({folder})",
            f"{folder}/.train.done",
            settings,
            inputs=(*first.config.files, *inputs),
            outputs=(f"{folder}/config.yaml",),
            jobs=tuple(jobs),
            clears=(Clear("move_aside", (folder,), folder),),
            shows=_positions_pages(folder),
        )
    ]


def lora(plan: Plan) -> list[Stage]:
    """Training of LoRA on top of the system that it starts from."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    if system.is_ctc:
        return [_only_ctc(plan, "lora")]
    if system.is_seq2seq:
        return [Stage("lora", skip="an encoder-decoder has no LLM to adapt")]
    if system.init is None:
        return [Stage("lora", skip=f"{system.name} has no init_system, so stage train trains it")]
    adapter = options.init_adapter
    start = f"{layout.base_dir}/init"  # not in init_dir: the model.pth there belongs to its own stages
    return [
        Stage(
            "lora",
            f"LoRA training ({layout.base_dir})",
            f"{layout.base_dir}/.lora.done",
            f"{_training_settings(plan, system)} num_best={options.num_best}"
            + (f" adapter={adapter}" if adapter else ""),
            inputs=(
                *system.config.files,
                *_system_inputs(plan, system),
                *_text_inputs(plan, system),
                f"{layout.init_dir}/config.yaml",
                *_adapter_files(adapter),
            ),
            outputs=(f"{layout.base_dir}/config.yaml",),
            jobs=(
                average_job(plan, layout.init_dir, start),
                *_train_system(*(plan, system, layout.base_dir, "--init_from", start), *given("init_adapter", adapter)),
            ),
            clears=(Clear("move_aside", (layout.base_dir,), layout.base_dir),),
            shows=_positions_pages(layout.base_dir),
        )
    ]


def _adapter_files(folder: str) -> list[str]:
    """The files of the LoRA to start from; none once it is gone, when the training's checkpoints have it."""
    files = (f"{folder}/{name}" for name in ("adapter_config.json", "adapter_model.safetensors"))
    return [as_seen_here(file) for file in files if folder and Path(file).is_file()]


def average(plan: Plan) -> list[Stage]:
    """The mean of the best epochs."""
    if plan.selection.system.is_ctc:
        return [_only_ctc(plan, "average")]
    folder, number = plan.layout.base_dir, plan.options.num_best
    return [
        Stage(
            "average",
            f"average of the {number} best epochs ({folder}/model.pth)",
            f"{folder}/.average.done",
            f"num_best={number}",
            inputs=(f"{folder}/config.yaml",),
            outputs=(f"{folder}/model.pth",),
            jobs=(average_job(plan, folder, folder),),
        )
    ]


def _only_ctc(plan: Plan, name: str) -> Stage:
    """Skip a training where CTC by itself is the system."""
    has_own = plan.layout.has_own_units
    return Stage(
        name, skip="the CTC head is the front end's own" if has_own else "stage ctc trains and averages the CTC encoder"
    )


def _training_settings(plan: Plan, system: System) -> str:
    seed = system.config.seed(plan.options.seed)
    settings = f"task={plan.layout.base_task.name} seed={seed} train_options={plan.options.train_options}"
    if not system.teacher:
        return settings
    search = system.teacher_conf
    return f"{settings} teacher={system.teacher} beam_size={search.beam_size} decode_options={search.decode_options}"


def _input_of(plan: Plan, system: System, set_name: str, table: str = "") -> str:
    """Name what a training reads of the training or development set; the training set of a student is its teacher's."""
    if set_name == "train" and system.teacher and plan.teacher:
        set_name = plan.layout.taught_set(plan.teacher.layout)
    return plan.layout.llm_input(set_name, table)


def _inputs_of(plan: Plan, system: System) -> list[str]:
    """The two data directories that a training reads."""
    return [_input_of(plan, system, name) for name in ("train", "dev")]


def _text_tables(plan: Plan, system: System) -> tuple[str, ...]:
    """The tables of texts that the training of a speech LLM reads, the one that it learns to write first."""
    transcripts = [TABLES["transcript"]] if system.reads_transcripts else []
    return tuple(dict.fromkeys([*plan.layout.base_task.references, *transcripts]))


def _system_inputs(plan: Plan, system: System) -> tuple[str, ...]:
    """Files that the training of a speech LLM reads besides its YAML."""
    layout = plan.layout
    names = (layout.llm_input_table[0], "utt2lang", *_text_tables(plan, system), *_optional(layout.data("train")))
    own = f"{layout.ctc_dir}/model.pth" if plan.selection.system.freezes_encoder else layout.cmvn
    read = tables(_inputs_of(plan, system), names)
    return (f"{layout.llm_dir}/llm.json", *read, own, *filter(None, [_learned_file(plan)]))


def _text_inputs(plan: Plan, system: System) -> tuple[str, ...]:
    """The pairs of texts that a system mixes into its training: a file, or else the texts of the training set."""
    settings = system.config.settings
    if not settings.get("text_share"):
        return ()
    if settings.get("text_pairs"):
        return (str(settings["text_pairs"]),)
    mixed = tables(_inputs_of(plan, system), TABLES.values())
    return tuple(path for path in mixed if path not in _system_inputs(plan, system))


def _optional(data_dir: str) -> tuple[str, ...]:
    """The table of target languages, where a data directory has several."""
    return (TARGET_TABLE,) if Path(data_dir, TARGET_TABLE).is_file() else ()


def _positions_pages(folder: str) -> tuple[str, ...]:
    """What the count of LLM positions left out, and what the LLM's tokenizer cannot encode."""
    return tuple(f"{folder}/llm_stats/{name}.md" for name in ("train", "dev"))


def _learned_file(plan: Plan) -> str:
    """What the system's compressor has learned, in a file; "" if nothing."""
    return plan.layout.learned_file if plan.selection.system.is_cached else ""


def _train_system(plan: Plan, system: System, folder: str, *start: str) -> list[Job]:
    """Count the LLM positions of every utterance, for batches; then train a speech LLM."""
    layout, task = plan.layout, plan.layout.base_task
    learned = given("centroids_file", _learned_file(plan))
    encoder = ["--ctc_dir", layout.ctc_dir, *learned]
    made_of = encoder if system.freezes_encoder else ["--cmvn_file", layout.cmvn]
    sets = ("train", "dev")
    shapes = module(
        *("collect_llm_stats", *config_words(plan, system.config), "--llm_dir", layout.llm_dir),
        *("--data_dir", *_inputs_of(plan, system), "--text_name", task.reference, "--task", task.name),
        *plan.options.target_words,
        *(encoder if system.freezes_encoder else []),
        *("--output_file", *(f"{folder}/llm_stats/{name}" for name in sets)),
    )
    table, called = layout.llm_input_table

    def entries(name: str) -> list[tuple[str, str, str]]:
        reference, *others = _text_tables(plan, system)
        found = [(table, called, "kaldi_ark"), (reference, "text", "text")]
        found += [(other, other, "text") for other in others]  # of a task that writes several, or of a teacher
        if Path(layout.data(name, "prompt")).is_file():  # templates of single utterances, where the corpus has them
            found.append(("prompt", "prompt", "text"))
        found += [(optional, "target", "text") for optional in _optional(layout.data(name))]
        return [*found, ("utt2lang", "lang", "text")]

    def place(set_name: str, table: str) -> str:
        return _input_of(plan, system, set_name, table)

    inputs = data_options(place, entries, lambda set_name: [f"{folder}/llm_stats/{set_name}"])
    words = ["--llm_dir", layout.llm_dir, *made_of, "--task_name", task.name, *inputs, "--output_dir", folder, *start]
    words += [f"--prompt_conf=target={target}" for target in plan.options.target_words[1:]]
    words += split_further(plan.options.train_options)
    train = trainer(plan, "llm_train", system.config, words)
    return [Job("cpu", shapes, f"{folder}/llm_stats/collect.log"), Job("train", train, f"{folder}/train.log")]
