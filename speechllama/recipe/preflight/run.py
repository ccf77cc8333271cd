"""The run that the preflight checks: its plan, its finished stages, its trainings' settings.

Plan + options of single commands -> settings of a training
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from speechllama.faults import InputError
from speechllama.frontend.feature_format import FeatureFormat, describe_features
from speechllama.frontend.front_ends import FeatureExtractor, FrontEnd
from speechllama.frontend.trainable import TrainableExtractor
from speechllama.model.front_end import TrainedFrontEnd
from speechllama.recipe.layout import Layout
from speechllama.recipe.options import Options
from speechllama.recipe.plan import Plan
from speechllama.recipe.preflight.memory import BatchShape
from speechllama.recipe.preflight.typical import measure_utterance
from speechllama.recipe.stages import stage_number
from speechllama.recipe.system import Config
from speechllama.registry import Choice
from speechllama.train.options import check_settings, known_options, override

WHOLE_NUMBERS = ("batch_bins", "accum_grad", "max_epoch")  # which the preflight computes with


class BuiltFrontEnd(NamedTuple):
    """A front end, what it writes, and the same as a part of the network where it trains."""

    extractor: FeatureExtractor
    features: FeatureFormat
    trained: TrainedFrontEnd | None

    @classmethod
    def build(cls, choice: Choice[FrontEnd]) -> BuiltFrontEnd:
        """Build it.

        Raises:
            ValueError, OSError: It cannot be built.
        """
        extractor: FeatureExtractor = choice.build()
        features = describe_features(choice, extractor)
        trained = None
        if features.is_trained and isinstance(extractor, TrainableExtractor):
            trained = TrainedFrontEnd(extractor, choice.settings.train, choice.settings.lora)
        return cls(extractor, features, trained)


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

    @property
    def jobs_on_a_card(self) -> int:
        """Jobs of stage features that share a GPU; a cluster gives each its own."""
        cards = self.options.ngpu if self.launcher == "local" else self.options.nj
        return -(-self.options.nj // max(1, cards))

    @cached_property
    def _built(self) -> BuiltFrontEnd | Exception:
        """The front end with what it writes, or why it cannot be built."""
        try:
            return BuiltFrontEnd.build(self.plan.front_end.choice)
        except (ValueError, OSError) as error:
            return error

    @property
    def front_end(self) -> FeatureExtractor | Exception:
        """The front end, or why it cannot be built."""
        return self._built if isinstance(self._built, Exception) else self._built.extractor

    @property
    def features(self) -> FeatureFormat:
        """What the front end writes; the default's if it cannot be built, which `check_front_end` reports."""
        return FeatureFormat() if isinstance(self._built, Exception) else self._built.features

    @property
    def trained_front_end(self) -> TrainedFrontEnd | None:
        """The front end as a part of the network; None where it is frozen, or cannot be built."""
        return None if isinstance(self._built, Exception) else self._built.trained

    @cached_property
    def typical(self) -> BatchShape:
        """The utterance of which estimates of trainings are."""
        return measure_utterance(self, "train")

    @cached_property
    def decoded(self) -> BatchShape:
        """The utterance of which estimates of decoding are: of the first set with data, else that of training."""
        there = (name for name in self.options.set_names if Path(self.layout.data(name, "utt2dur")).is_file())
        return measure_utterance(self, next(there, "train"))

    @property
    def uses_llm(self) -> bool:
        """Whether a stage with the LLM runs."""
        return self.options.stop_stage >= stage_number("llm") and self.plan.selection.needs_llm

    @property
    def device(self) -> str:
        """Where training runs."""
        return "cuda" if self.options.ngpu else "cpu"


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
