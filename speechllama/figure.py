"""Figures of matplotlib: how all of ours are made and written. figure -> bytes -> SVG, PDF or PNG.

No pyplot: it would look for a display, and would keep every figure in memory.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechllama.faults import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
PNG_DPI = 150
# Text stays text, so that a browser shows it in any script, and a page can be searched; a dollar is no formula.
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "speechllama",  # the same figure gives the same bytes
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}


def figure_format(path: str | Path) -> str:
    """Read the format from a file's suffix.

    Raises:
        ValueError: It is not in FORMATS.
    """
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise InputError(f"{path}: a picture is written as {', '.join(f'.{name}' for name in FORMATS)}")
    return suffix


def figure_bytes(figure: Figure, format_name: str = "svg") -> bytes:
    """Draw a figure, the same one as the same bytes.

    Args:
        figure: The figure.
        format_name: One of FORMATS.
    """
    import matplotlib

    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    stream = io.BytesIO()
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of other scripts; the SVG has the characters
        figure.savefig(stream, format=format_name, dpi=PNG_DPI, metadata=dates.get(format_name))
    return stream.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, atomically; the suffix says the format.

    Args:
        figure: The figure.
        path: The file; its folder is made if absent.

    Raises:
        ValueError: The suffix is not in FORMATS.
    """
    path = Path(path)
    content = figure_bytes(figure, figure_format(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
