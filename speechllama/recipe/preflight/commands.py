"""Options of single commands, before hours are spent: the commands of a plan -> what their programs would refuse."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
from collections.abc import Sequence

from speechllama.recipe.contradictions import FURTHER
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.stages.records import JOB

PROGRAMS = "speechllama.bin."


def check_commands(run: CheckedRun, faults: list[str]) -> None:
    """Read the commands of stages that have further options, such as `--llm_options`, as their programs will.

    Options of trainings are read by ESPnet's parser, see `override`.

    Args:
        run: The run.
        faults: Gets what a program says, with the option that it comes from.
    """
    found: dict[str, None] = {}  # the same for each set
    for number, row in run.plan.stages():
        holder = next((name for name in FURTHER if row.name.startswith(name.removesuffix("_options"))), "")
        given = getattr(run.options, holder) if holder else ""
        if not given or row.skip or number > run.options.stop_stage:
            continue
        for job in row.jobs:
            _, _, program, *words = job.command  # python3 -m speechllama.bin.NAME
            if program.startswith(PROGRAMS) and job.kind != "train":
                reason = _refusal(importlib.import_module(program).get_parser(), words)
                if reason:
                    found[f"--{holder} {given}: {reason}"] = None
    faults += found


def _refusal(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """What a program says about its words; "" where it takes them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args([word.replace(JOB, "1") for word in words])
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
    return ""
