"""COMET, before hours are spent: --comet_python, --comet_model -> its version, or how to make its environment."""

from __future__ import annotations

from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.stages import stage_number
from speechllama.report.comet_scores import find_comet
from speechllama.text.tasks import COMET


def check_comet(run: CheckedRun, lines: list[str], faults: list[str]) -> None:
    """Look for the package that stage score needs with `--comet_model`.

    Args:
        run: The run.
        lines: Gets the version that is there.
        faults: Gets how to make an environment with it where it is not.
    """
    options = run.options
    if not options.comet_model or COMET not in run.layout.task.metrics or options.stop_stage < stage_number("score"):
        return
    try:
        lines.append(f"COMET: unbabel-comet {find_comet(options.comet_python)}, model {options.comet_model}")
    except ValueError as error:
        faults.append(str(error))
