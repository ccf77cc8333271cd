"""Picture of trainings: loss, accuracy and learning rate by epoch, a column for each training.

training.json of stages ctc, train, lora -> figure
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from speechllama.training_record import Epochs

# Value of training.json -> what it is called.
VALUES: Mapping[str, str] = {"loss": "loss", "accuracy": "accuracy", "learning_rate": "learning rate"}
PHASES: Mapping[str, tuple[str, str]] = {"train": ("training", "tab:blue"), "valid": ("validation", "tab:orange")}


@dataclass(frozen=True)
class Curves:
    """One training.

    Attributes:
        name: Name of its directory.
        epochs: Values of each epoch.
        averaged: Epochs whose mean is the model; none where there is no average yet.
    """

    name: str
    epochs: Epochs
    averaged: tuple[int, ...] = ()


def draw_trainings(trainings: Sequence[Curves]) -> Figure:
    """Draw some trainings next to each other, in the order in which they ran.

    Args:
        trainings: At least one.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(1.2 + 3.2 * len(trainings), 6.4), layout="constrained")
    panels = figure.subplots(len(VALUES), len(trainings), sharex="col", squeeze=False)
    for column, curves in enumerate(trainings):
        for row, (key, called) in enumerate(VALUES.items()):
            axes = panels[row, column]
            _draw_value(axes, curves, key)
            if column == 0:
                axes.set_ylabel(called)
        panels[0, column].set_title(curves.name, fontsize=9)
        panels[-1, column].set_xlabel("epoch" + ("; dotted: averaged" if curves.averaged else ""))
        panels[-1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0, 0].legend(fontsize=8)
    return figure


def _draw_value(axes: Axes, curves: Curves, key: str) -> None:
    """Draw a value of each epoch, in both phases where it has one."""
    has_value = False
    for phase, (called, color) in PHASES.items():
        points = [(epoch, values[phase][key]) for epoch, values in curves.epochs.items() if key in values[phase]]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=called, markersize=3)
            has_value = True
    for epoch in curves.averaged if has_value else ():
        axes.axvline(epoch, color="0.7", linestyle=":", linewidth=1, zorder=0)
    if not has_value:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.5")
        axes.set_yticks([])
