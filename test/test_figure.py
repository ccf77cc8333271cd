"""Figures are written whole, in three formats, the same one as the same bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from speechllama.faults import InputError
from speechllama.figure import FORMATS, figure_bytes, save_figure


def make_figure(text: str = "x") -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().set_title(text)
    return figure


def test_the_suffix_says_the_format_and_nothing_else_is_left(tmp_path: Path) -> None:
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for name in FORMATS:
        assert save_figure(make_figure(), tmp_path / f"deep/a.{name}").read_bytes().startswith(starts[name])
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["a.pdf", "a.png", "a.svg"]
    with pytest.raises(InputError, match=r"a\.gif: a picture is written as \.svg, \.pdf, \.png"):
        save_figure(make_figure(), tmp_path / "a.gif")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_figure_gives_the_same_bytes(name: str) -> None:
    assert figure_bytes(make_figure(), name) == figure_bytes(make_figure(), name)


def test_any_text_can_be_drawn_and_is_text_in_an_svg() -> None:
    text = "$100 is $x_ & 今日は <b>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = figure_bytes(make_figure(text)).decode("utf-8")
    assert "$100 is $x_ &amp; 今日は &lt;b&gt;" in svg
