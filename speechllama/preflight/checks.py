"""The preflight: every check of a run, its faults in one list, and what it will cost.

    Plan -> Report(lines, tables, faults)
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from speechllama.data.covost2_files import Sources, look_up_languages
from speechllama.files import atomic_write
from speechllama.markdown import format_table
from speechllama.model.config import from_mapping
from speechllama.preflight.amounts import (
    Amount,
    check_disk,
    checkpoint_bytes,
    compressed_bytes,
    feature_bytes,
    read_amounts,
)
from speechllama.preflight.llm_check import FoundLLM, find_llm
from speechllama.preflight.plan import Plan
from speechllama.preflight.schedule import estimate_times
from speechllama.preflight.systems import Training, check_gpu, find_trainings
from speechllama.tasks.config_file import read_config
from speechllama.tasks.scratch_llm import LlamaConfig, llama_shape
from speechllama.tasks.text_llm import TextLLMConfig

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
        faults = [f"{len(self.faults)} faults; mend all of them, then start again:", *self.faults]
        ending = "\n".join(f"* {line}" if index else line for index, line in enumerate(faults)) if self.faults else ""
        facts = "".join(f"* {line}\n" for line in self.lines)
        parts = ["# Preflight\n", facts, *self.tables, ending or "No fault found."]
        return "\n".join(part for part in parts if part) + "\n"


def run_preflight(plan: Plan) -> Report:
    """Check everything that can be checked before hours are spent."""
    report = Report()
    amounts = check_corpus(plan, report)
    found = check_llm(plan, report)
    architecture = found.architecture if found else None
    trainings = find_trainings(plan, architecture, report.faults)
    report.lines += [training.describe(plan.ngpu) for training in trainings]
    memory = check_gpu(plan, trainings, architecture, report.faults)
    if memory:
        report.tables.append(format_table(MEMORY_HEADER, memory))
    needs = disk_needs(plan, trainings, amounts, found)
    report.lines += check_disk(needs, report.faults)
    if not report.faults:
        add_times(plan, trainings, architecture, amounts, report)
    return report


def write_report(report: Report, output_dir: str | Path) -> Path:
    """Write the page where the run keeps it."""
    path = Path(output_dir) / REPORT_FILE
    with atomic_write(path) as stream:
        stream.write(report.text())
    return path


def check_corpus(plan: Plan, report: Report) -> dict[str, Amount]:
    """Languages and the paths of the corpora; how much speech there is, as far as it is known."""
    twice = [name for name, count in Counter(plan.langs.split()).items() if count > 1]
    if twice:
        report.faults.append(f"--langs names {', '.join(twice)} more than once")
    is_prepared = all((Path(plan.datadir) / split / "utt2dur").is_file() for split in ("train", "dev", "test"))
    tables = []
    if plan.covost2 and not is_prepared:
        sources = Sources(Path(plan.common_voice), plan.covost2, Path(plan.downloads))
        faults: list[str] = []
        tables = look_up_languages(sources, plan.langs.split(), faults)
        report.faults += dict.fromkeys(faults)  # a missing folder is told once, not for each language
    amounts = read_amounts(plan.datadir, tables)
    for split, amount in amounts.items():
        length = f"{amount.seconds / 3600:.1f} h" + ("" if is_prepared else ", at 5 s each")
        report.lines.append(f"{split}: {amount.num_utterances:,} utterances, {length}")
    if not amounts:
        report.lines.append("the corpus is not there yet: times are for an hour of speech, and disk for none")
    return amounts


def check_llm(plan: Plan, report: Report) -> FoundLLM | None:
    """The LLM that is given, or the shape of the recipe's own; None where none is needed or known."""
    if not plan.needs_llm:
        return None
    scratch = scratch_config(plan)
    if plan.llm and not scratch:
        found = find_llm(plan.llm, plan.revision, report.faults)
        if found:
            report.lines.append(found.line)
        return found
    if not plan.llm_config and not scratch:
        report.faults.append("no LLM: give --llm a directory or a hub id")
        return None
    try:
        path, kind = (scratch, LlamaConfig) if scratch else (plan.llm_config, TextLLMConfig)
        return FoundLLM(own_architecture(path, kind), 0.0, "")
    except (FileNotFoundError, ValueError) as error:
        report.faults.append(str(error))
        return None


def scratch_config(plan: Plan) -> str:
    """YAML of the LLM that the system trains from nothing; "" of others, and where the system's own is faulty."""
    try:
        name = read_config(plan.system_config).get("scratch_llm")
    except (FileNotFoundError, ValueError):
        return ""
    return str(Path(plan.system_config).with_name(f"{name}.yaml")) if name else ""


def own_architecture(path: str, kind: type[LlamaConfig]) -> Any:
    """Shape of an LLM that the recipe makes itself, from its YAML."""
    config = from_mapping(kind, read_config(path), path)
    return llama_shape(config, config.vocab_size)


def disk_needs(
    plan: Plan, trainings: list[Training], amounts: dict[str, Amount], found: FoundLLM | None
) -> list[tuple[str, str, float]]:
    """What is written where: what for, folder, bytes."""
    needs: list[tuple[str, str, float]] = []
    if not (Path(plan.dumpdir) / ".features.done").is_file():
        needs.append(("features", plan.dumpdir, feature_bytes(amounts)))
    for training in trainings:
        size = checkpoint_bytes(training.num_trained, int(training.settings.get("keep_nbest_models", 1)))
        if training.network is None and training.encoder:
            size += compressed_bytes(amounts, training.encoder[0].transformer.dim)
        needs.append((f"stage {training.stage}", plan.expdir, size))
    if found and found.bytes_to_fetch:
        home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
        needs.append(("LLM", home, found.bytes_to_fetch))
    return needs


def add_times(
    plan: Plan, trainings: list[Training], architecture: Any, amounts: dict[str, Amount], report: Report
) -> None:
    """Measure, where the run's device is at hand."""
    if plan.ngpu and not torch.cuda.is_available():
        report.lines.append("times: not measured, since this machine has no GPU; the jobs run on another")
        return
    rows = estimate_times(plan, trainings, architecture, amounts)
    what = "time" if amounts else "time for an hour of speech"
    report.tables.append(format_table(["stage", "measured on this machine", what], rows))
