"""The stages after training: decoding and rescoring, scores, the packed model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from speechllama.options import split_further
from speechllama.recipe.stages.commands import as_seen_here, config_words, given
from speechllama.recipe.stages.encoder import CACHE_TABLES
from speechllama.recipe.stages.records import JOB, Clear, Job, Stage, module, tables
from speechllama.recipe.stages.speech import FEATURE_TABLES
from speechllama.recipe.system import Config
from speechllama.text.tasks import COMET, Task

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


def decode(plan: Plan) -> list[Stage]:
    """Decoding, then rescoring; each set is a part with its own marker, so it is decoded once."""
    names, rescoring = plan.options.set_names, plan.selection.rescoring
    sets = [*map(plan.layout.part_of, names)]
    dev = plan.layout.part_of("dev")  # what the weight of a rescoring is tuned on, which needs no control
    parts = _take_subsets(plan, [*names, *(["dev"] if rescoring and "dev" not in names else [])])
    if plan.selection.cascade:
        write = _take_ctc_text if plan.selection.system.is_ctc else _decode_set
        translated = (_translate_transcripts(plan, plan.selection.cascade, name) for name in sets)
        return [*parts, *(write(plan, name) for name in sets), *translated]
    if plan.selection.system.is_ctc:
        return [*parts, *(_take_ctc_text(plan, name) for name in sets)]
    # A system that was trained for several tasks is decoded once with the prompt of each.
    asked = plan.layout.task.prompted
    tasks = [each.name for each in asked] if len(asked) > 1 else [""]
    decoded = [*parts, *(_decode_set(plan, name, task=task) for name in sets for task in tasks)]
    if rescoring is None:
        return decoded
    decoded += [] if dev in sets else [_decode_set(plan, dev, has_control=False)]
    return [*decoded, _tune(plan, rescoring), *(_rescore_set(plan, name) for name in sets)]


def score(plan: Plan) -> list[Stage]:
    """Scores and the page of results."""
    options, layout = plan.options, plan.layout
    stages = []
    parts = [(name, task) for name in map(layout.part_of, options.set_names) for task in layout.task.scored]
    for name, task in parts:
        folder, suffix = layout.decoded(name, part=task.name), layout.part_suffix(task.name)
        command = module(
            *("score", "--hyp_dir", folder, "--control_dir", layout.decoded(name, control=True, part=task.name)),
            *("--data_dir", layout.dump(name), "--task", task.name),
            *("--corpus_report", layout.corpus_report(name)),
            *options.target_words,
            *given("bleu_tokenizer", options.bleu_tokenizer),
        )
        comet = _comet_job(plan, name, task)
        results = module("write_results", "--exp_dir", options.expdir, "--title", plan.recipe_name)
        stages.append(
            Stage(
                "score",
                f"scores of {name}{f', {task.title.lower()}' if suffix else ''} ({layout.results})",
                f"{layout.system_dir}/.score_{name}_beam{layout.beam_size}{suffix}.done",
                " ".join(f"{key}={value}" for key, value in _scoring(plan, task).items() if value),
                inputs=(f"{folder}/text",),
                outputs=(f"{folder}/score.json",),
                jobs=(
                    *([comet] if comet else []),
                    Job("cpu", command, f"{folder}/score.log"),
                    Job("cpu", results, f"{options.expdir}/log/results.log"),
                ),
                shows=(layout.results,),
            )
        )
    return stages


def _scoring(plan: Plan, task: Task) -> dict[str, str]:
    """The options that scores of a task depend on; without them a marker is that of older runs."""
    options = plan.options
    return {
        "bleu_tokenizer": options.bleu_tokenizer,
        "comet_model": options.comet_model if COMET in task.metrics else "",
    }


def _comet_job(plan: Plan, name: str, task: Task) -> Job | None:
    """COMET of a set and of its control, on a GPU if there is one; None where it is not asked for."""
    options, layout = plan.options, plan.layout
    if not _scoring(plan, task)["comet_model"]:
        return None
    folder, control = (layout.decoded(name, control=is_control, part=task.name) for is_control in (False, True))
    command = module(
        *("score_comet", "--hyp_dir", folder, "--control_dir", control),
        *("--data_dir", layout.dump(name), "--task", task.name, "--model", as_seen_here(options.comet_model)),
        *given("python", options.comet_python),
        *("--ngpu", int(options.ngpu > 0)),
    )
    return Job("gpu", command, f"{folder}/comet.log")


def pack(plan: Plan) -> list[Stage]:
    """The model in one file, with the settings of the search that it was decoded with."""
    layout, pack_llm = plan.layout, plan.options.pack_llm
    if plan.selection.cascade:
        return [Stage("pack", skip="a cascade is two systems; pack the one that writes the transcripts by itself")]
    if plan.selection.system.is_ctc:
        return [Stage("pack", skip="the CTC encoder is packed as a part of a speech LLM")]
    folder, name = layout.system_dir, layout.part_of(plan.options.set_names[0])
    decoded = layout.output(name) if layout.task.separator else layout.decoded(name)
    output = f"{folder}/packed.zip"
    command = module(
        *("pack", "--exp_dir", folder, "--output", output, "--include_llm", pack_llm, "--decode_dir", decoded)
    )
    tuned = (layout.tuned, f"{layout.llm_dir}/llm.json") if plan.selection.rescoring else ()
    return [
        Stage(
            "pack",
            f"model in one file ({output})",
            f"{folder}/.pack.done",
            f"pack_llm={str(pack_llm).lower()}",
            inputs=(f"{layout.base_dir}/model.pth", *tuned, f"{decoded}/nbest.jsonl"),
            outputs=(output,),
            jobs=(Job("cpu", command, f"{folder}/pack.log"),),
        )
    ]


def _take_subsets(plan: Plan, names: Sequence[str]) -> list[Stage]:
    """Take what `--subset` says out of the features, and out of the compressed ones, of some sets."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    tables_of = {layout.dumpdir: FEATURE_TABLES}
    if layout.reads_cache or system.is_ctc:
        tables_of[layout.compressed_dir] = CACHE_TABLES
    stages = []
    for name in names if options.subset else ():
        for root, names_of_tables in tables_of.items():
            source, folder = f"{root}/{name}", f"{root}/{layout.part_of(name)}"
            words = ("take_subset", "--data_dir", source, "--output_dir", folder, "--number", options.subset)
            stages.append(
                Stage(
                    "subset",
                    f"{options.subset} utterances of {name} ({folder})",
                    f"{folder}/.subset.done",
                    inputs=tables([source], names_of_tables),
                    outputs=tables([folder], names_of_tables),
                    jobs=(Job("cpu", module(*words), f"{root}/log/subset_{name}.log"),),
                )
            )
    return stages


def _decode_set(plan: Plan, name: str, has_control: bool = True, task: str = "") -> Stage:
    """Decode a set, and its control; with the prompt of a task, where the system was trained for several."""
    options, layout, jobs = plan.options, plan.layout, list[Job]()
    controls = (False, True) if has_control else (False,)
    folders, outputs = [], list[str]()
    for control in controls:
        folder = _decoded_folder(plan, name, control, task)
        folders.append(folder)
        jobs += decode_jobs(plan, name, folder, control, task)
        if layout.task.separator:
            parts = {part: layout.decoded(name, control, part) for part in layout.task.parts}
            words = ("--task", layout.task.name, "--output_dir", folder, "--part", *parts, "--part_dir")
            jobs.append(Job("cpu", module("split_outputs", *words, *parts.values()), f"{folder}/log/split.log"))
            outputs += parts.values()
    asked = f" ({task})" if task else ""
    return Stage(
        "decode",
        f"decoding of {name}{asked}{', and its control' if has_control else ''} ({folders[0]})",
        f"{layout.base_dir}/.decode_{name}_beam{options.beam_size}{layout.part_suffix(task)}.done",
        f"decode_options={options.decode_options}",
        inputs=(f"{layout.base_dir}/model.pth",),
        outputs=(*tables(folders, ("text", "nbest.jsonl")), *tables(outputs, ["text"])),
        jobs=tuple(jobs),
        clears=(Clear("move_aside", (*folders, *outputs)),),
    )


def decode_jobs(plan: Plan, name: str, folder: str, control: bool = False, task: str = "") -> list[Job]:
    """Decode a set into a folder: in parallel parts, which are then merged.

    Args:
        plan: Whose trained system decodes.
        name: The set.
        folder: Gets the hypotheses.
        control: Whether each utterance gets the audio of another one.
        task: What to write, of a system that was trained for several tasks.
    """
    options, layout = plan.options, plan.layout
    work = module(
        *("decode", "--exp_dir", layout.base_dir, "--data_dir", layout.llm_input(name), "--output_dir", folder),
        *given("task", task),
        *("--beam_size", options.beam_size, "--nbest", options.beam_size, "--batch_size", options.batch_size),
        *("--control", control, "--ngpu", int(options.ngpu > 0), "--num_jobs", options.decode_jobs, "--job", JOB),
        *split_further(options.decode_options),
    )
    jobs = [Job("gpu", work, f"{folder}/log/decode.JOB.log", options.decode_jobs)]
    if options.decode_jobs > 1:  # a single job merges itself
        merge = module(
            *("merge_decoded", "--data_dir", layout.llm_input(name), "--output_dir", folder),
            *("--num_jobs", options.decode_jobs, "--control", control),
        )
        jobs.append(Job("cpu", merge, f"{folder}/log/merge.log"))
    return jobs


def _decoded_folder(plan: Plan, name: str, control: bool, task: str) -> str:
    """Where a set is decoded to: outputs with several parts are taken apart afterwards."""
    layout = plan.layout
    if layout.task.separator:
        return layout.output(name, control)
    return layout.decoded(name, control, task) if task else layout.decoded_base(name, control)


def _take_ctc_text(plan: Plan, name: str) -> Stage:
    """Take CTC's own text of a set, which stage `compress` has written, and that of its control."""
    layout, read = plan.layout, plan.layout.compressed(name)
    folders = [layout.decoded_base(name, control) for control in (False, True)]
    jobs = [
        Job(
            "cpu",
            module(
                *("ctc_text", "--ctc_dir", layout.ctc_dir, "--data_dir", read),
                *("--output_dir", folder, "--control", control),
            ),
            f"{folder}/log/ctc_text.log",
        )
        for folder, control in zip(folders, (False, True), strict=True)
    ]
    return Stage(
        "decode",
        f"CTC's own text of {name}, and of its control ({folders[0]})",
        f"{layout.base_dir}/.decode_{name}_beam{layout.base_beam_size}.done",
        inputs=(f"{layout.ctc_dir}/model.pth", f"{read}/ctc_hyp"),
        outputs=tables(folders, ["text"]),
        jobs=tuple(jobs),
        clears=(Clear("move_aside", tuple(folders)),),
    )


def _translate_transcripts(plan: Plan, cascade: Config, name: str) -> Stage:
    """Translate the transcripts of a set, and those of its control, with the LLM."""
    options, layout, prompts, jobs = plan.options, plan.layout, plan.shared_prompts, []
    read = [layout.decoded_base(name, control) for control in (False, True)]
    folders = [layout.decoded(name, control) for control in (False, True)]
    for transcripts, folder in zip(read, folders, strict=True):
        command = module(
            *("translate_text", *config_words(plan, cascade), "--llm_dir", layout.llm_dir),
            *("--transcript_dir", transcripts, "--data_dir", layout.dump(name), "--output_dir", folder),
            *("--task", options.task, "--beam_size", options.beam_size, "--nbest", options.beam_size),
            *("--batch_size", options.batch_size, "--ngpu", int(options.ngpu > 0), *options.target_words),
            *given("prompt_config", prompts.path if prompts else ""),
            *split_further(options.decode_options),
        )
        jobs.append(Job("gpu", command, f"{folder}/log/translate_text.log"))
    return Stage(
        "translate",
        f"translation of the transcripts of {name}, and of its control ({folders[0]})",
        f"{layout.system_dir}/.translate_{name}_beam{options.beam_size}.done",
        f"decode_options={options.decode_options}",
        inputs=(
            *cascade.files,
            *(prompts.files if prompts else ()),
            f"{layout.llm_dir}/llm.json",
            *tables(read, ["text"]),
        ),
        outputs=tables(folders, ("text", "nbest.jsonl")),
        jobs=tuple(jobs),
        clears=(Clear("move_aside", tuple(folders)),),
    )


def _tune(plan: Plan, rescoring: Config) -> Stage:
    """Tune weight and length norm of the LLM's score on dev."""
    options, layout, dev, prompts = plan.options, plan.layout, plan.layout.part_of("dev"), plan.shared_prompts
    command = module(
        *("tune_rescoring", *config_words(plan, rescoring), "--llm_dir", layout.llm_dir),
        *("--decode_dir", layout.decoded_base(dev), "--data_dir", layout.dump(dev), "--task", options.task),
        *("--output_file", layout.tuned, "--ngpu", int(options.ngpu > 0), *options.target_words),
        *given("prompt_config", prompts.path if prompts else ""),
    )
    return Stage(
        "tune",
        f"weight of the LLM's score ({layout.tuned})",
        f"{layout.system_dir}/{layout.part_of(f'.tune_beam{options.beam_size}')}.done",
        inputs=(
            *rescoring.files,
            *(prompts.files if prompts else ()),
            f"{layout.llm_dir}/llm.json",
            f"{layout.decoded_base(dev)}/nbest.jsonl",
        ),
        outputs=(layout.tuned,),
        jobs=(Job("gpu", command, f"{layout.system_dir}/log/tune_beam{options.beam_size}.log"),),
    )


def _rescore_set(plan: Plan, name: str) -> Stage:
    """Rescore the hypotheses of a set, and those of its control."""
    options, layout, jobs = plan.options, plan.layout, []
    for control in (False, True):
        folder = layout.decoded(name, control)
        command = module(
            *("rescore", "--settings", layout.tuned, "--decode_dir", layout.decoded_base(name, control)),
            *("--data_dir", layout.dump(name), "--output_dir", folder, "--ngpu", int(options.ngpu > 0)),
        )
        jobs.append(Job("gpu", command, f"{folder}/log/rescore.log"))
    read = [layout.decoded_base(name, control) for control in (False, True)]
    folders = [layout.decoded(name, control) for control in (False, True)]
    return Stage(
        "rescore",
        f"rescoring of {name}, and its control ({folders[0]})",
        f"{layout.system_dir}/.rescore_{name}_beam{options.beam_size}.done",
        inputs=(layout.tuned, *tables(read, ["nbest.jsonl"])),
        outputs=tables(folders, ("text", "nbest.jsonl")),
        jobs=tuple(jobs),
        clears=(Clear("move_aside", tuple(folders)),),
    )
