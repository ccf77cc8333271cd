"""The stages of the CTC encoder: its training, and the compressed features that it leaves."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

from speechllama.constants import SPLITS
from speechllama.model.compressors import CompressorSettings
from speechllama.recipe.stages.commands import given, statistics_files, train_on_features, training_features
from speechllama.recipe.stages.records import JOB, Clear, Job, Stage, module, tables
from speechllama.recipe.stages.speech import FEATURE_TABLES

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


CACHE_TABLES = ("compressed.scp", "utt2lang", "text", "src_text")


def ctc(plan: Plan) -> list[Stage]:
    """Training of the CTC encoder."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    if system.is_seq2seq:
        return [Stage("ctc", skip="the encoder-decoder trains its CTC head along with the rest")]
    if not system.freezes_encoder:
        return [Stage("ctc", skip=f"the encoder of {plan.selection.name} learns with the LLM's loss")]
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


def compress(plan: Plan) -> list[Stage]:
    """Compressed features, and the report on CTC."""
    options, layout, system = plan.options, plan.layout, plan.selection.system
    if system.is_seq2seq:
        return [Stage("compress", skip="an encoder-decoder trains from features")]
    if not system.freezes_encoder:
        return [Stage("compress", skip=f"{plan.selection.name} trains from features")]
    folder, (record, settings) = layout.compressed_dir, layout.cached_compressor
    conf = ["--compressor", record.name, *given("compressor_conf", conf_json(settings))]
    learned = ["--centroids_file", layout.learned_file] if layout.learned_file else []
    on_gpu, jobs = int(options.ngpu > 0), []
    if learned:
        learn = module(
            *("learn_units", "--ctc_dir", layout.ctc_dir, "--data_dir", layout.dump("train"), *conf),
            *("--seed", system.config.seed(options.seed), "--output_file", layout.learned_file, "--ngpu", on_gpu),
        )
        jobs.append(Job("gpu", learn, f"{folder}/log/learn_units.log"))
    folders = [f"{folder}/{name}" for name in SPLITS]
    places = ["--data_dir", *map(layout.dump, SPLITS), "--output_dir", *folders, "--num_jobs", str(options.decode_jobs)]
    work = module(
        *("ctc_compress", "--ctc_dir", layout.ctc_dir, *places, "--tokenizer", layout.tokenizer, *conf, *learned),
        *("--job", JOB, "--ngpu", on_gpu),
    )
    jobs.append(Job("gpu", work, f"{folder}/log/compress.JOB.log", options.decode_jobs))
    jobs.append(Job("cpu", module("merge_parts", *places, "--name", "compressed"), f"{folder}/log/merge.log"))
    report = module(
        *("ctc_report", "--compressed_dir", folder, "--data_root", layout.dumpdir, "--sets", "dev test"),
        *("--text_name", layout.ctc_table, "--output_dir", folder),
    )
    jobs.append(Job("cpu", report, f"{folder}/log/report.log"))
    made = tables((f"{folder}/{name}" for name in SPLITS), CACHE_TABLES)
    old = (*(f"{folder}/{name}" for name in SPLITS), f"{folder}/report.json", f"{folder}/report.md")
    return [
        Stage(
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
    ]


def conf_json(settings: CompressorSettings) -> str:
    """Return the settings that are not defaults as JSON; "" if there are none."""
    changed = {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }
    return json.dumps(changed) if changed else ""
