"""The run that the preflight checks: its plan, its finished stages, its trainings' settings.

Plan + options of single commands -> settings of a training
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any

from speechllama.cli import add_front_end
from speechllama.data.front_ends import FeatureFormat, choose_front_end, describe_features
from speechllama.faults import InputError
from speechllama.recipe.layout import Layout
from speechllama.recipe.options import Options
from speechllama.recipe.plan import Plan
from speechllama.recipe.stages import stage_number
from speechllama.recipe.system import Config
from speechllama.train.options import check_settings, known_options, override

WHOLE_NUMBERS = ("batch_bins", "accum_grad", "max_epoch")  # which the preflight computes with


@dataclass(frozen=True)
class CheckedRun:
    """A run that is checked before it begins.

    Attributes:
        plan: The run.
        finished: Names of its finished stages.
        launcher: How jobs start; unless it is `local`, this machine need not have the GPUs.
    """

    plan: Plan
    finished: frozenset[str] = frozenset()
    launcher: str = "local"

    @property
    def options(self) -> Options:
        """The run's options."""
        return self.plan.options

    @property
    def layout(self) -> Layout:
        """The paths of the run."""
        return self.plan.layout

    @cached_property
    def features(self) -> FeatureFormat:
        """What the front end writes; the default's if it cannot be built, which `check_front_end` reports."""
        try:
            return read_front_end(self.options.feature_options)
        except ValueError:
            return FeatureFormat()

    @property
    def uses_llm(self) -> bool:
        """Whether a stage with the LLM runs."""
        return self.options.stop_stage >= stage_number("llm") and self.plan.selection.needs_llm

    @property
    def device(self) -> str:
        """Where training runs."""
        return "cuda" if self.options.ngpu else "cpu"


def read_front_end(options: str) -> FeatureFormat:
    """Find what the front end writes that `--feature_options` chooses.

    Args:
        options: `--feature_options`.

    Raises:
        ValueError: There is no such front end, or it has no such setting.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_front_end(parser)
    try:
        chosen, _ = parser.parse_known_args(options.split())
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from error
    choice = choose_front_end(chosen.frontend, chosen.frontend_conf)
    return describe_features(choice, choice.build())


def read_settings(config: Config, options: str, kind: str) -> Mapping[str, Any]:
    """Read the settings of a training: a YAML with what it includes, and the options that override it.

    Args:
        config: The YAML.
        options: Words of a command line, "--max_epoch 5".
        kind: The training whose options its keys are: `ctc`, `system` or `seq2seq`.

    Raises:
        ValueError: A key or option is unknown, or a value is of the wrong type.
    """
    known = known_options(kind)
    check_settings(config.settings, known, config.path)
    settings: Mapping[str, Any] = config.settings
    if options:
        settings = override(dict(settings), options, known)
    faults = []
    for name, value in settings.items():
        if name.endswith("_conf") and not isinstance(value, (dict, NoneType)):
            faults.append(f"{name}: expected settings (key: value), found {value!r}")
        if name in WHOLE_NUMBERS and not isinstance(value, int):
            faults.append(f"{name}: expected a whole number, found {value!r}")
    if faults:
        raise InputError(f"{config.path}: {'; '.join(faults)}")
    return settings
