"""The preflight: every check of a run, its faults in one list, and what it will cost.

CheckedRun -> Report(lines, tables, faults)
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from speechllama.config import from_mapping
from speechllama.data.download import is_url
from speechllama.files import atomic_write, read_table
from speechllama.llm.adapter_files import check_adapter
from speechllama.llm.scratch_llm import LlamaConfig, llama_shape
from speechllama.llm.text_llm import TextLLMConfig
from speechllama.markdown import format_table
from speechllama.model.build import CONFIG_FILE
from speechllama.model.meta_model import meta_encoder
from speechllama.recipe.corpora import SizeEstimate
from speechllama.recipe.preflight.amounts import (
    SECONDS_PER_CLIP,
    Amount,
    check_disk,
    checkpoint_bytes,
    compressed_bytes,
    feature_bytes,
    read_amounts,
)
from speechllama.recipe.preflight.comet import check_comet
from speechllama.recipe.preflight.commands import check_commands
from speechllama.recipe.preflight.fit import check_context, check_mixtures, check_texts, check_updates
from speechllama.recipe.preflight.llm_check import FoundLLM, find_llm
from speechllama.recipe.preflight.prompts import check_prompts
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.schedule import estimate_times
from speechllama.recipe.preflight.systems import PlannedTraining, check_gpu, find_trainings, own_head_shape
from speechllama.recipe.stages.speech import DATA_TABLES, OWN_PYTHON, OWN_SHELL, data_script
from speechllama.recipe.system import Config
from speechllama.rescore.rescoring import read_rescoring_config
from speechllama.text.checkpoint_units import load_units_tokenizer

REPORT_FILE = "preflight.md"
MEMORY_HEADER = ["GPU memory (estimate), GB", "frozen", "trained", "activations", "scratch", "total"]


@dataclass
class Report:
    """What the preflight found: lines on what there is, tables in markdown, and every fault."""

    lines: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The page."""
        faults = [f"{len(self.faults)} faults; fix all of them, then start again:", *self.faults]
        ending = "\n".join(f"* {line}" if index else line for index, line in enumerate(faults)) if self.faults else ""
        facts = "".join(f"* {line}\n" for line in self.lines)
        parts = ["# Preflight\n", facts, *self.tables, ending or "No fault found."]
        return "\n".join(part for part in parts if part) + "\n"


def run_preflight(run: CheckedRun) -> Report:
    """Check everything that can be checked before hours are spent."""
    report = Report()
    check_front_end(run, report)
    amounts, to_unpack = check_corpus(run, report)
    check_sets(run, report)
    found = check_llm(run, report)
    architecture = found.architecture if found else None
    trainings = find_trainings(run, architecture, report.faults)
    report.lines += [training.describe(run.options.num_processes) for training in trainings]
    check_adapters(run, trainings, report)
    check_updates(run, trainings, amounts, report.faults)
    check_mixtures(run, trainings, report.faults)
    check_texts(run, report.faults)
    check_context(run, trainings, report.lines, report.faults)
    check_rescoring(run, report)
    check_commands(run, report.faults)
    check_prompts(run, report.lines, report.faults)
    check_comet(run, report.lines, report.faults)
    memory = check_gpu(run, trainings, architecture, report.faults)
    if memory:
        report.tables.append(format_table(MEMORY_HEADER, memory))
    needs = disk_needs(run, trainings, amounts, found)
    needs.append(("unpacked clips", run.options.downloads, to_unpack))
    report.lines += check_disk(needs, report.faults)
    if not report.faults:
        add_times(run, trainings, architecture, amounts, report)
    return report


def write_report(report: Report, output_dir: str | Path) -> Path:
    """Write the page into the run's directory."""
    path = Path(output_dir) / REPORT_FILE
    with atomic_write(path) as stream:
        stream.write(report.text())
    return path


def check_corpus(run: CheckedRun, report: Report) -> tuple[dict[str, Amount], float]:
    """Check languages and corpus; return the speech of each split, if it is known, and the bytes to unpack."""
    langs = run.options.langs.split()
    twice = [name for name, count in Counter(langs).items() if count > 1]
    if twice:
        report.faults.append(f"--langs names {', '.join(twice)} more than once")
    estimate = SizeEstimate()
    if "data" not in run.finished:
        estimate = run.plan.estimate_corpus()
        check_own_corpus(run, report)
        report.faults += dict.fromkeys(estimate.faults)  # a missing folder is reported once, not for each language
    seconds_each = estimate.seconds_each or SECONDS_PER_CLIP
    amounts = read_amounts(run.options.datadir, estimate.num_rows, seconds_each)
    for split, amount in amounts.items():
        length = f"{amount.seconds / 3600:.1f} h" + (f", at {seconds_each:g} s each" if estimate.num_rows else "")
        report.lines.append(f"{split}: {amount.num_utterances:,} utterances, {length}")
    if not amounts:
        report.lines.append("the corpus is not there yet: times are for an hour of speech, and disk for none")
    return amounts, estimate.bytes_to_unpack


def check_own_corpus(run: CheckedRun, report: Report) -> None:
    """Check that there is a corpus that only the recipe's own script knows, and the script."""
    if run.plan.corpus is not None:
        return
    place = run.options.corpus
    if place and not is_url(place) and not Path(place).exists():
        report.faults.append(f"--corpus {place}: no such folder or file, seen from where you are or from {Path.cwd()}")
    *_, script = data_script()
    if script == OWN_SHELL and not os.access(script, os.X_OK):
        why = "cannot be run (chmod +x)" if Path(script).exists() else f"is not there, nor is {OWN_PYTHON}"
        report.faults.append(f"{script}: {why}; it prepares the corpus, see docs/your_own_corpus.md")


def check_sets(run: CheckedRun, report: Report) -> None:
    """Check the data directories that `--sets` names, except those that stage `data` has yet to write."""
    expected = DATA_TABLES[run.plan.front_end.choice.record.reads]
    for name, folder in run.options.further_sets.items():
        place = Path(folder)
        is_made_here = place.absolute().is_relative_to(Path(run.options.datadir).absolute())
        if is_made_here and not place.exists() and "data" not in run.finished:
            report.lines.append(f"{name}: {folder}, which stage data has yet to write")
            continue
        missing = [table for table in expected if not (place / table).is_file()]
        if missing:
            found = f"no {', '.join(missing)} there" if place.is_dir() else "no such folder"
            report.faults.append(f"--sets: {folder}: {found}; expected a data directory with {', '.join(expected)}")
        elif (place / "utt2dur").is_file():
            seconds = [float(value) for value in read_table(place / "utt2dur").values()]
            report.lines.append(f"{name}: {len(seconds):,} utterances, {sum(seconds) / 3600:.1f} h, in {folder}")


def check_front_end(run: CheckedRun, report: Report) -> None:
    """Check that the front end can be built, and that there is a tokenizer for the units of its own CTC head."""
    if isinstance(run.front_end, Exception):
        report.faults.append(f"--frontend {run.options.frontend}: {run.front_end}")
        return
    if not run.layout.has_own_units:
        return
    settings = run.plan.front_end.choice.settings
    try:
        load_units_tokenizer(settings.path, settings.revision)
    except ValueError as error:
        report.faults.append(f"--frontend {run.options.frontend}: {error}")
    num_units = own_head_shape(run).num_units
    report.lines.append(
        f"CTC is the front end's own: {num_units:,} units of {settings.path}, nothing trains at stage ctc"
    )


def check_llm(run: CheckedRun, report: Report) -> FoundLLM | None:
    """Check the given LLM, or find the shape of the recipe's own; None if none is needed or known."""
    if not run.uses_llm:
        return None
    scratch = run.plan.selection.scratch_llm
    if run.options.llm and not scratch:
        found = find_llm(run.options.llm, run.options.revision or None, report.faults)
        if found:
            report.lines.append(found.line)
        return found
    try:
        if scratch:
            return FoundLLM(own_architecture(run.plan.folders.read(scratch), LlamaConfig), 0.0, "")
        if run.layout.llm:
            return FoundLLM(own_architecture(run.layout.llm, TextLLMConfig), 0.0, "")
    except ValueError as error:
        report.faults.append(str(error))
    return None


def check_adapters(run: CheckedRun, trainings: list[PlannedTraining], report: Report) -> None:
    """Check the LoRA that a training starts from; one that has begun does not need it again."""
    begun = Path(run.layout.base_dir, CONFIG_FILE).is_file()
    for training in trainings if run.options.init_adapter and not begun else []:
        if training.stage == "lora" and training.network:
            try:
                check_adapter(Path(run.options.init_adapter), training.network.llm)
            except (ValueError, FileNotFoundError) as error:
                report.faults.append(f"--init_adapter: {error}")


def check_rescoring(run: CheckedRun, report: Report) -> None:
    """Check the settings of a rescoring system."""
    rescoring = run.plan.selection.rescoring
    if rescoring:
        try:
            read_rescoring_config(dict(rescoring.settings), rescoring.path)
        except ValueError as error:
            report.faults.append(str(error))


def own_architecture(config: Config, kind: type[LlamaConfig]) -> Any:
    """Return the shape of an LLM that the recipe makes itself, from its YAML."""
    sizes = from_mapping(kind, config.settings, config.path)
    return llama_shape(sizes, sizes.vocab_size)


def disk_needs(
    run: CheckedRun, trainings: list[PlannedTraining], amounts: dict[str, Amount], found: FoundLLM | None
) -> list[tuple[str, str, float]]:
    """List what will be written: purpose, folder, bytes."""
    needs: list[tuple[str, str, float]] = []
    if "features" not in run.finished:
        needs.append(("features", run.layout.dumpdir, feature_bytes(amounts, run.features)))
    _, compressor = run.layout.cached_compressor
    if run.plan.selection.system.freezes_encoder and run.layout.has_own_units:  # no CTC training, but its cache
        needs.append(
            (
                "stage compress",
                run.options.expdir,
                compressed_bytes(amounts, compressor.width(run.features.feature_dim)),
            )
        )
    for training in trainings:
        num_best = num_kept(training.settings.get("keep_nbest_models", 1))
        size = checkpoint_bytes(training.num_trained, training.num_frozen, num_best)
        if training.network is None and training.encoder:
            size += compressed_bytes(amounts, compressor.width(meta_encoder(training.encoder).dim))
        needs.append((f"stage {training.stage}", run.options.expdir, size))
    if found and found.bytes_to_fetch:
        home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
        needs.append(("LLM", home, found.bytes_to_fetch))
    if found and found.bytes_to_write and "llm" not in run.finished:
        needs.append(("LLM, unpacked", run.options.expdir, found.bytes_to_write))
    return needs


def num_kept(epochs: int | list[int]) -> int:
    """Epochs that ESPnet keeps: a number, or a list of which the largest counts."""
    return max(epochs) if isinstance(epochs, list) else epochs


def add_times(
    run: CheckedRun, trainings: list[PlannedTraining], architecture: Any, amounts: dict[str, Amount], report: Report
) -> None:
    """Measure times, if this machine has the run's device."""
    if run.options.ngpu and not torch.cuda.is_available():
        report.lines.append("times: not measured, since this machine has no GPU; the jobs run on another")
        return
    try:
        rows = estimate_times(run, trainings, architecture, amounts)
    except torch.cuda.OutOfMemoryError:  # only on a cluster, whose cards may be larger; here, memory has been checked
        report.lines.append("times: not measured, since the batches do not fit on this machine's GPU")
        return
    what = "time" if amounts else "time for an hour of speech"
    report.tables.append(format_table(["stage", "measured on this machine", what], rows))
