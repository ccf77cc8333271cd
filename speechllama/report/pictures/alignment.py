"""Picture of one utterance: log-mel, CTC units as coloured runs, and the vectors they became, on one time axis.

Alignment, text -> figure
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speechllama.faults import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from speechllama.model.alignment import Alignment, Run

MAX_SECONDS = 60.0  # of a picture; a longer one could not be read
INCHES_PER_SECOND = 1.9  # so that the text of a run of one frame, 40 ms, has about its own height
WIDTHS = (7.0, 38.0)  # least and greatest, in inches
MAX_COLUMNS = 1000  # of the log-mel image, which is most of the file
BLANK_COLOR = "0.85"
PLAIN_COLOR = "tab:blue"  # of vectors without a CTC unit
COLORS = [color for color in range(20) if color not in (14, 15)]  # of tab20, without its greys
WORD_START = "▁"


def draw_alignment(alignment: Alignment, text: str = "", start: float = 0.0, width: float = 0.0) -> Figure:
    """Draw what became of an utterance.

    Args:
        alignment: The utterance.
        text: What the system wrote, for the title.
        start: Where the utterance begins in its recording, in seconds; the time axis counts from there.
        width: Of the figure, in inches; 0: as the duration needs it.

    Returns:
        The figure: log-mel; where there is a CTC head, the best unit of each frame with its probability; the vectors,
        each of the width of an encoder frame, with a band from the frames that it is made of.

    Raises:
        ValueError: The utterance is longer than MAX_SECONDS.
    """
    from matplotlib.figure import Figure

    if alignment.seconds > MAX_SECONDS:
        raise InputError(
            f"a picture of {alignment.seconds:.1f} s could not be read: at most {MAX_SECONDS:.0f} s; take a part of it"
        )
    low, high = WIDTHS
    width = width or min(high, max(low, INCHES_PER_SECOND * alignment.seconds))
    heights = [1.0, 1.2, 1.0] if alignment.runs else [1.0, 1.0]
    figure = Figure(figsize=(width, 1.1 + 1.15 * len(heights)), layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    _draw_log_mel(panels[0], alignment, start)
    if alignment.runs:
        _draw_runs(panels[1], alignment, start)
    _draw_vectors(panels[-1], alignment, start)
    panels[-1].set_xlim(start, start + alignment.seconds)
    panels[-1].set_xlabel("seconds")
    lines = textwrap.wrap(text, int(width * 13)) or [""]  # about 13 characters an inch
    title = "\n".join([*filter(None, lines), describe_shortening(alignment)])
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
    return figure


def describe_shortening(alignment: Alignment) -> str:
    """Say how much shorter the utterance got."""
    num_features, num_vectors = len(alignment.log_mel), len(alignment.vectors)
    return (
        f"{alignment.seconds:.2f} s: {num_features} feature frames, {alignment.num_frames} encoder frames, "
        f"{num_vectors} vector{'s' * (num_vectors != 1)} ({alignment.ratio:.1f} feature frames per vector)"
    )


def _draw_log_mel(axes: Axes, alignment: Alignment, start: float) -> None:
    num_mels = alignment.log_mel.shape[1]
    style: dict[str, Any] = {"extent": (start, start + alignment.seconds, 0, num_mels), "interpolation": "none"}
    step = -(-len(alignment.log_mel) // MAX_COLUMNS)
    axes.imshow(alignment.log_mel[::step].T, aspect="auto", origin="lower", cmap="magma", **style)
    axes.set_ylabel("log-mel bin")


def _draw_runs(axes: Axes, alignment: Alignment, start: float) -> None:
    """Draw a bar for each frame, as high as its best unit is probable, and the text of each run above it."""
    from matplotlib.collections import PolyCollection

    shift, end = alignment.frame_shift, start + alignment.seconds
    colors = {run.unit: run_color(run) for run in alignment.runs}
    bars = []
    for frame, height in enumerate(alignment.probabilities):
        left, right = start + frame * shift, min(start + (frame + 1) * shift, end)
        bars.append([(left, 0.0), (left, height), (right, height), (right, 0.0)])
    axes.add_collection(PolyCollection(bars, facecolors=[colors[unit] for unit in alignment.units], linewidths=0))
    axes.vlines([start + run.start for run in alignment.runs], 0, 1, color="white", linewidth=0.4)
    style: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": 6, "parse_math": False}
    for run in alignment.runs:
        if not run.is_blank:
            label = run.text.replace(" ", WORD_START) or str(run.unit)
            axes.text(start + (run.start + run.end) / 2, 1.06, label, **style)
    axes.set_ylim(0, 1.75)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("CTC probability")


def _draw_vectors(axes: Axes, alignment: Alignment, start: float) -> None:
    """Draw the vectors side by side in the middle, and a band from the frames of each."""
    from matplotlib.collections import PolyCollection

    size = alignment.frame_shift
    first = start + (alignment.seconds - size * len(alignment.vectors)) / 2
    colors = vector_colors(alignment)
    bands, boxes = [], []
    for number, vector in enumerate(alignment.vectors):
        left = first + number * size
        bottom = [(left + size, 0.3), (left, 0.3)]
        bands.append([(start + vector.start, 1.0), (start + vector.end, 1.0), *bottom])
        boxes.append([(left, 0.0), (left + size, 0.0), *bottom])
    style: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.4}
    axes.add_collection(PolyCollection(bands, facecolors=colors, alpha=0.45, **style))
    axes.add_collection(PolyCollection(boxes, facecolors=colors, **style))
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("vectors")


def run_color(run: Run) -> Any:
    """Colour of a run: of its unit; light grey of blank."""
    import matplotlib

    return BLANK_COLOR if run.is_blank else matplotlib.colormaps["tab20"](COLORS[run.unit % len(COLORS)])


def vector_colors(alignment: Alignment) -> Sequence[Any]:
    """Colour of each vector: of the run in which it begins, or that of a system without CTC."""
    colors, runs = [], list(alignment.runs)
    for vector in alignment.vectors:
        while runs and runs[0].end <= vector.start:
            runs.pop(0)
        colors.append(run_color(runs[0]) if runs else PLAIN_COLOR)
    return colors
