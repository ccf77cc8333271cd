"""The picture of an utterance: a bar for each encoder frame, a box and a band for each vector, the text of each run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from speechllama.figure import save_figure
from speechllama.model.alignment import Alignment, Run, Vector
from speechllama.report.pictures.alignment import BLANK_COLOR, draw_alignment, run_color

SHIFT, START = 0.04, 2.0
UNITS = (0, 3, 3, 0, 5, 5, 5, 7)
PROBABILITIES = (0.9, 0.5, 0.6, 0.8, 0.4, 0.7, 0.3, 1.0)
RUNS = (
    Run(0.0, 0.04, 0, "", 0.9, 0),
    Run(0.04, 0.12, 3, " the", 0.55, 1),
    Run(0.12, 0.16, 0, "", 0.8, 0),
    Run(0.16, 0.28, 5, "$x$", 0.467, 1),
    Run(0.28, 0.31, 7, "", 1.0, 1),  # its text is not known; the utterance ends inside its frame
)
VECTORS = (Vector(0.04, 0.12, "the"), Vector(0.16, 0.28, "$x$"), Vector(0.28, 0.31, ""))
ALIGNMENT = Alignment(
    np.random.default_rng(0).normal(size=(29, 80)).astype(np.float32),
    *(0.31, SHIFT, UNITS, PROBABILITIES, (-1, 0, 0, -1, 1, 1, 1, 2), RUNS, VECTORS),
)


def polygons(axes: Axes) -> list[list[np.ndarray]]:
    """The corners of each polygon, collection by collection."""
    found = [each for each in axes.collections if isinstance(each, PolyCollection)]
    return [[np.asarray(path.vertices)[:4] for path in each.get_paths()] for each in found]


def colors(axes: Axes, number: int) -> list[str]:
    """The colours of the polygons of a collection, without their opacity."""
    found = [each for each in axes.collections if isinstance(each, PolyCollection)]
    return [to_hex(color) for color in np.asarray(found[number].get_facecolor())]


def test_each_frame_has_a_bar_as_high_as_its_unit_is_probable() -> None:
    _, axes, _ = draw_alignment(ALIGNMENT, "x", START).axes
    (bars,) = polygons(axes)
    assert len(bars) == len(UNITS)
    for frame, bar in enumerate(bars):
        right = min((frame + 1) * SHIFT, 0.31)
        assert sorted({*bar[:, 0]}) == pytest.approx([START + frame * SHIFT, START + right])
        assert (bar[:, 1].min(), bar[:, 1].max()) == (0.0, PROBABILITIES[frame])
    expected = [to_hex(run_color(next(run for run in RUNS if run.unit == unit))) for unit in UNITS]
    assert colors(axes, 0) == expected
    assert expected[0] == to_hex(BLANK_COLOR) and len({*expected}) == 4


def test_each_vector_has_a_box_and_a_band_from_its_frames() -> None:
    axes = draw_alignment(ALIGNMENT, "x", START).axes[-1]
    bands, boxes = polygons(axes)
    assert len(bands) == len(boxes) == len(VECTORS)
    for vector, band, box in zip(VECTORS, bands, boxes, strict=True):
        top = band[band[:, 1] == 1.0]
        assert sorted(top[:, 0]) == pytest.approx([START + vector.start, START + vector.end])
        foot = sorted({*band[band[:, 1] < 1.0][:, 0]})
        assert foot == sorted({*box[:, 0]}) and foot[1] - foot[0] == pytest.approx(SHIFT), "it ends at its box"
    edges = [sorted({*box[:, 0]}) for box in boxes]
    assert [edge[0] for edge in edges[1:]] == pytest.approx([edge[1] for edge in edges[:-1]]), "side by side"
    expected = [to_hex(run_color(RUNS[number])) for number in (1, 3, 4)]
    assert colors(axes, 0) == colors(axes, 1) == expected


def test_the_text_of_each_run_stands_over_its_middle(tmp_path: Path) -> None:
    figure = draw_alignment(ALIGNMENT, "The text.", START)
    shown = [(text.get_text(), text.get_position()[0]) for text in figure.axes[1].texts]
    assert [text for text, _ in shown] == ["▁the", "$x$", "7"], "blank has none; without a text, the unit's number"
    assert [place for _, place in shown] == pytest.approx([START + 0.08, START + 0.22, START + 0.295])
    svg = save_figure(figure, tmp_path / "a.svg").read_text(encoding="utf-8")
    assert all(f">{text}</text>" in svg for text in ("▁the", "$x$", "7", "The text."))
    assert "0.31 s: 29 feature frames, 8 encoder frames, 3 vectors (9.7 feature frames per vector)" in svg


def test_without_a_ctc_head_there_are_vectors_only() -> None:
    alignment = Alignment(ALIGNMENT.log_mel, 0.31, SHIFT, (), (), tuple(range(8)), (), VECTORS)
    log_mel, axes = draw_alignment(alignment).axes
    assert not polygons(log_mel) and [len(each) for each in polygons(axes)] == [3, 3]
