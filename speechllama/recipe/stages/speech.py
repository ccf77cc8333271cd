"""The stages before any model: preflight, data, features, tokenizer, statistics."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.constants import OWN_HEAD, SPLITS
from speechllama.data.data_dir import TARGET_TABLE
from speechllama.options import split_further
from speechllama.recipe.remembered import corpus_setting, data_marker
from speechllama.recipe.stages.commands import as_seen_here, statistics_files, training_features
from speechllama.recipe.stages.records import FINISHED, JOB, Clear, Job, JobKind, Stage, module, tables
from speechllama.text.tasks import TASKS

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


OWN_SHELL, OWN_PYTHON = "local/data.sh", "local/prepare.py"
TEXT_TABLES = ("text", "src_text", "utt2lang")
DATA_TABLES = {"audio": ("wav.scp", *TEXT_TABLES), "features": ("feats.scp", *TEXT_TABLES)}  # by what a front end reads
FEATURE_TABLES = ("feats.scp", "text", "src_text", "utt2lang")
OPTIONAL_TABLES = ("segments", "prompt", TARGET_TABLE)
LIMITS = ("--max_bad_share",)  # options of make_features that change no features
COVERAGE = "0.9995"  # share of characters that CTC units cover: the rarest characters of all languages get no unit
FULL_COVERAGE = "1.0"  # for an encoder-decoder: a character without a unit could never be written


def preflight(plan: Plan) -> list[Stage]:
    """What can be checked before hours are spent, with every fault in one list."""
    layout = plan.layout
    options = ["--finished", FINISHED, *([] if plan.options.dry_run else ["--output_dir", layout.preflight_dir])]
    command = module("preflight", *plan.words, *options)
    confs = [*plan.selection.system.config.files, *(file for config in plan.selection.configs for file in config.files)]
    return [
        Stage(
            "preflight",
            f"what can be checked before hours are spent ({layout.preflight_dir})",
            inputs=(*confs, layout.ctc.path),
            jobs=(Job("check", command),),
        )
    ]


def data(plan: Plan) -> list[Stage]:
    """Corpus and data directories."""
    options, layout = plan.options, plan.layout
    jobs = [Job("cpu", (*data_script(options.corpus_kind), *plan.data_words), f"{options.datadir}/log/data.log")]
    validate = module("validate_data_dir", "--data_dir", *map(layout.data, SPLITS), *options.reading_words)
    jobs.append(Job("cpu", validate, f"{options.datadir}/log/validate.log"))
    sources = plan.sources
    stamps = sources.stamps()
    seen = {name: as_seen_here(place) for name, place in plan.places.items()}
    places = "".join(corpus_setting(seen[name]) if name == "corpus" else f" {name}={seen[name]}" for name in seen)
    settings = f"langs={options.langs}{places} data_options={options.data_options}"
    settings += "".join(f" {word.removeprefix('--')}" for word in options.direction_words)
    settings += f" files= {stamps}" if stamps else ""  # the space is in the markers of older runs
    outputs = tables(map(layout.data, SPLITS), DATA_TABLES[plan.front_end.choice.record.reads])
    return [
        Stage(
            "data",
            f"corpus and data directories ({options.datadir})",
            data_marker(options.datadir),
            settings,
            inputs=(*map(as_seen_here, sources.tables), *(own_scripts() if plan.corpus is None else ())),
            outputs=(*outputs, *([layout.llm_text] if layout.llm else [])),
            jobs=tuple(jobs),
            shows=(f"{options.datadir}/report.md",),
            replan=True,  # optional tables, which a corpus may have
        )
    ]


def data_script(corpus_kind: str = "") -> tuple[str, ...]:
    """What prepares the corpus: local/data.sh, local/prepare.py of a recipe that has only that, or the package."""
    if Path(OWN_SHELL).exists():
        return (OWN_SHELL,)
    if Path(OWN_PYTHON).is_file():
        return ("python3", OWN_PYTHON)
    return module("prepare_data", corpus_kind) if corpus_kind else (OWN_SHELL,)


def own_scripts() -> list[str]:
    """List what prepares a corpus that only the recipe knows: all files below local/."""
    found = (path for path in sorted(Path("local").rglob("*")) if path.is_file())
    return [str(path) for path in found if not any(part.startswith((".", "__")) for part in path.parts)]


def features(plan: Plan) -> list[Stage]:
    """What the front end computes; each further data directory is a part with its own marker."""
    further = plan.options.further_sets
    return [_features(plan, SPLITS, ""), *(_features(plan, (name,), name, folder) for name, folder in further.items())]


def _features(plan: Plan, sets: Sequence[str], part: str, source: str = "") -> Stage:
    """Features of some sets; `part` names a further data directory, whose path is `source`."""
    options, layout, front_end = plan.options, plan.layout, plan.front_end
    record, suffix = front_end.choice.record, f"_{part}" if part else ""
    log, further = f"{layout.dumpdir}/log", split_further(options.feature_options)
    folders = ["--data_dir", *map(layout.data, sets), "--output_dir", *map(layout.dump, sets)]
    folders += ["--num_jobs", str(options.nj)]
    on_gpu = ["--ngpu", "1"] if front_end.runs_on_gpu and options.ngpu else []
    make = module("make_features", *folders, "--job", JOB, *front_end.words, *on_gpu, *options.reading_words, *further)
    merge = module("merge_parts", *folders, "--name", "feats", *further)
    kind: JobKind = "gpu" if on_gpu else "cpu"
    jobs = [Job(kind, make, f"{log}/features{suffix}.JOB.log", options.nj)]
    jobs.append(Job("cpu", merge, f"{log}/merge{suffix}.log"))
    if part:  # nothing has checked it yet
        validate = module("validate_data_dir", "--data_dir", *map(layout.data, sets), *options.reading_words)
        jobs.insert(0, Job("cpu", validate, f"{log}/validate{suffix}.log"))
    labels = [task.reference for task in TASKS.values() if task.is_label and task.reference not in TEXT_TABLES]
    optional = [path for path in tables(map(layout.data, sets), (*OPTIONAL_TABLES, *labels)) if Path(path).is_file()]
    given = [f"source={as_seen_here(source)}" if part else "", *front_end.words, _features_of(further)]
    return Stage(
        "features",
        f"{front_end.title} ({layout.dump(part) if part else layout.dumpdir})",
        f"{layout.dumpdir}/.features{suffix}.done",
        " ".join(filter(None, given)),
        inputs=(*tables(map(layout.data, sets), DATA_TABLES[record.reads]), *optional, *front_end.files),
        outputs=tables(map(layout.dump, sets), FEATURE_TABLES),
        jobs=tuple(jobs),
        clears=(Clear("remove", tuple(map(layout.dump, sets)), layout.dumpdir),),
    )


def _features_of(further: Sequence[str]) -> str:
    """Those of the further options that change features; a limit of bad clips only says when to stop."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*LIMITS)
    kept = parser.parse_known_args(further)[1]
    return f"feature_options={' '.join(kept)}" if kept else ""


def tokenizer(plan: Plan) -> list[Stage]:
    """Units of CTC or of an encoder-decoder."""
    layout, is_seq2seq = plan.layout, plan.selection.system.is_seq2seq
    folder = str(Path(layout.tokenizer).parent)
    text = layout.data("train", layout.ctc_table)
    if layout.has_own_units:
        return [_own_units(plan, folder, text)]
    coverage = FULL_COVERAGE if is_seq2seq else COVERAGE
    sizes = ["--text", text, "--vocab_size", layout.units, "--character_coverage", coverage]
    return [
        Stage(
            "tokenizer",
            f"{'encoder-decoder and ' if is_seq2seq else ''}CTC units ({layout.tokenizer})",
            f"{folder}/.tokenizer.done",
            inputs=(text,),
            outputs=(layout.tokenizer,),
            jobs=(Job("cpu", module("train_tokenizer", *sizes, "--output_dir", folder), f"{folder}/train.log"),),
        )
    ]


def _own_units(plan: Plan, folder: str, text: str) -> Stage:
    """Units of the front end's own CTC head; the case of the transcripts decides that of what it writes."""
    words = plan.front_end.words
    adopt = module("adopt_units", *words, "--text", text, "--output_dir", folder)
    return Stage(
        "tokenizer",
        f"CTC units of the front end ({plan.layout.tokenizer})",
        f"{folder}/.tokenizer.done",
        " ".join(words),
        inputs=(text, *plan.front_end.files),
        outputs=(plan.layout.tokenizer,),
        jobs=(Job("cpu", adopt, f"{folder}/adopt.log"),),
    )


def statistics(plan: Plan) -> list[Stage]:
    """Mean, variance and lengths of the features."""
    options, layout = plan.options, plan.layout
    collect = module(
        *("collect_stats", "--train_dir", layout.dump("train"), "--dev_dir", layout.dump("dev")),
        *("--tokenizer", layout.tokenizer, "--text_name", layout.ctc_table, "--output_dir", layout.stats_dir),
        *(("--encoder", OWN_HEAD) if layout.has_own_units else ()),
    )
    report = module(
        *("report_left_out", "--data_root", options.datadir, "--dump_root", layout.dumpdir),
        *("--stats_dir", layout.stats_dir),
    )
    return [
        Stage(
            "statistics",
            f"mean, variance and lengths ({layout.stats_dir})",
            f"{layout.stats_dir}/.statistics.done",
            inputs=(layout.tokenizer, *training_features(plan)),
            outputs=statistics_files(plan),
            jobs=(
                Job("cpu", collect, f"{layout.stats_dir}/collect_stats.log"),
                Job("cpu", report, f"{layout.stats_dir}/left_out.log"),
            ),
            shows=(f"{layout.stats_dir}/left_out.md",),
        )
    ]
