"""The stages of the CTC encoder: its training, or the head that the front end brings, and the compressed features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from speechllama.constants import SPLITS
from speechllama.frontend.feature_format import FORMAT_FILE
from speechllama.model.compressors import CompressorSettings
from speechllama.recipe.stages.commands import given, statistics_files, train_on_features, training_features
from speechllama.recipe.stages.records import JOB, Clear, Job, Stage, module, tables
from speechllama.recipe.stages.speech import FEATURE_TABLES

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


CACHE_TABLES = ("compressed.scp", "utt2lang", "text", "src_text")


def ctc(plan: Plan) -> list[Stage]:
    """Training of the CTC encoder, or the CTC head that the front end brings."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    if system.is_seq2seq:
        return [Stage("ctc", skip="the encoder-decoder trains its CTC head along with the rest")]
    if not system.freezes_encoder:
        return [Stage("ctc", skip=f"the encoder of {plan.selection.name} learns with the LLM's loss")]
    if layout.has_own_units:
        return [_adopt_head(plan)]
    average = module("average_checkpoints", "--exp_dir", layout.ctc_dir, "--num_best", options.ctc_num_best)
    seed = layout.ctc.seed(options.seed)
    return [
        Stage(
            "ctc",
            f"CTC training ({layout.ctc_dir})",
            f"{layout.ctc_dir}/.ctc.done",
            f"seed={seed} num_best={options.ctc_num_best} ctc_options={options.ctc_options}",
            inputs=(*layout.ctc.files, layout.tokenizer, *statistics_files(plan), *training_features(plan)),
            outputs=(f"{layout.ctc_dir}/model.pth",),
            jobs=(
                train_on_features(plan, "ctc_train", layout.ctc, layout.ctc_dir, options.ctc_options),
                Job("cpu", average, f"{layout.ctc_dir}/average.log"),
            ),
            clears=(Clear("move_aside", (layout.ctc_dir,), layout.ctc_dir),),
        )
    ]


def _adopt_head(plan: Plan) -> Stage:
    """Take over the front end's own CTC head, in the form of a trained CTC encoder."""
    layout, features = plan.layout, plan.layout.dump("train")
    words = ["--data_dir", features, "--tokenizer", layout.tokenizer, "--output_dir", layout.ctc_dir]
    return Stage(
        "ctc",
        f"CTC head of the front end, nothing trains ({layout.ctc_dir})",
        f"{layout.ctc_dir}/.ctc.done",
        inputs=(layout.tokenizer, f"{features}/{FORMAT_FILE}"),
        outputs=(f"{layout.ctc_dir}/model.pth",),
        jobs=(Job("cpu", module("adopt_ctc_head", *words), f"{layout.ctc_dir}/adopt.log"),),
        clears=(Clear("move_aside", (layout.ctc_dir,), layout.ctc_dir),),
    )


def compress(plan: Plan) -> list[Stage]:
    """Compressed features, and the report on CTC; each further data directory is a part with its own marker."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    if system.is_seq2seq:
        return [Stage("compress", skip="an encoder-decoder trains from features")]
    if not system.freezes_encoder:
        return [Stage("compress", skip=f"{plan.selection.name} trains from features")]
    folder, jobs = layout.compressed_dir, []
    if layout.learned_file:
        learn = module(
            *("learn_units", "--ctc_dir", layout.ctc_dir, "--data_dir", layout.dump("train"), *_compressor_words(plan)),
            *("--seed", system.config.seed(options.seed), "--output_file", layout.learned_file),
            *("--ngpu", int(options.ngpu > 0)),
        )
        jobs.append(Job("gpu", learn, f"{folder}/log/learn_units.log"))
    jobs += _compress_sets(plan, SPLITS, "")
    jobs.append(_report_ctc(plan, "dev test", folder))
    made = tables(map(layout.compressed, SPLITS), CACHE_TABLES)
    old = (*map(layout.compressed, SPLITS), f"{folder}/report.json", f"{folder}/report.md")
    first = Stage(
        "compress",
        f"CTC report and compressed features ({folder})",
        f"{folder}/.compress.done",
        inputs=(
            *(f"{layout.ctc_dir}/model.pth", layout.tokenizer),
            *tables(map(layout.dump, SPLITS), FEATURE_TABLES),
        ),
        outputs=(*made, *filter(None, [layout.learned_file]), f"{folder}/report.json"),
        jobs=tuple(jobs),
        clears=(Clear("remove", old, layout.ctc_dir),),
        shows=(f"{folder}/report.md",),
    )
    return [first, *(_compress_further(plan, name) for name in options.further_sets)]


def _compress_further(plan: Plan, name: str) -> Stage:
    """Compress a further data directory, with a report of its own."""
    layout, folder = plan.layout, plan.layout.compressed(name)
    return Stage(
        "compress",
        f"CTC report and compressed features of {name} ({folder})",
        f"{layout.compressed_dir}/.compress_{name}.done",
        inputs=(
            *(f"{layout.ctc_dir}/model.pth", layout.tokenizer, *filter(None, [layout.learned_file])),
            *tables([layout.dump(name)], FEATURE_TABLES),
        ),
        outputs=(*tables([folder], CACHE_TABLES), f"{folder}/report.json"),
        jobs=(*_compress_sets(plan, (name,), f"_{name}"), _report_ctc(plan, name, folder)),
        clears=(Clear("remove", (folder,), layout.ctc_dir),),
        shows=(f"{folder}/report.md",),
    )


def _compress_sets(plan: Plan, sets: Sequence[str], suffix: str) -> list[Job]:
    """Compress some sets in parallel parts, and merge them."""
    options, layout = plan.options, plan.layout
    log, learned = f"{layout.compressed_dir}/log", given("centroids_file", layout.learned_file)
    folders = [*map(layout.compressed, sets), "--num_jobs", str(options.decode_jobs)]
    places = ["--data_dir", *map(layout.dump, sets), "--output_dir", *folders]
    work = module(
        *("ctc_compress", "--ctc_dir", layout.ctc_dir, *places, "--tokenizer", layout.tokenizer),
        *(*_compressor_words(plan), *learned, "--job", JOB, "--ngpu", int(options.ngpu > 0)),
    )
    merge = module("merge_parts", *places, "--name", "compressed")
    return [
        Job("gpu", work, f"{log}/compress{suffix}.JOB.log", options.decode_jobs),
        Job("cpu", merge, f"{log}/merge{suffix}.log"),
    ]


def _report_ctc(plan: Plan, sets: str, output_dir: str) -> Job:
    """Report what CTC recognises in some sets, separated by spaces."""
    layout = plan.layout
    report = module(
        *("ctc_report", "--compressed_dir", layout.compressed_dir, "--data_root", layout.dumpdir),
        *("--sets", sets, "--text_name", layout.ctc_table, "--output_dir", output_dir),
        *(("--max_blank_share", limit) if (limit := plan.options.max_blank_share) < 1 else ()),
    )
    return Job("cpu", report, f"{output_dir}/log/report.log")


def _compressor_words(plan: Plan) -> list[str]:
    """Name the compressor and its settings to a command."""
    record, settings = plan.layout.cached_compressor
    return ["--compressor", record.name, *given("compressor_conf", conf_json(settings))]


def conf_json(settings: CompressorSettings) -> str:
    """Return the settings that are not defaults as JSON; "" if there are none."""
    changed = {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }
    return json.dumps(changed) if changed else ""
