"""Picture of lengths: vectors that the LLM reads, and the compression ratio, against the length of the text.

compressed_<X>/report.json, <set>/{utt2num_frames, utt2dur, utt2lang, src_text} -> figure
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from speechllama.constants import FRAME_SHIFT
from speechllama.files import read_json, read_table
from speechllama.report.ctc import ctc_report_path, read_lengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 300  # of a language; more would hide each other
NUM_GROUPS = 8  # of equally many utterances, whose medians make a language's line
NUM_COLORS = 20


@dataclass(frozen=True)
class Utterance:
    """Characters of the text, vectors, and feature frames of 10 ms for each vector."""

    characters: int
    vectors: int
    ratio: float


@dataclass(frozen=True)
class LanguageLengths:
    """Some utterances of a language in order of their text's length, and the language's ratio in the report."""

    name: str
    utterances: tuple[Utterance, ...]
    ratio: float


def read_language_lengths(compressed_dir: str | Path, set_name: str) -> list[LanguageLengths]:
    """Read the lengths of a set from the cache.

    Args:
        compressed_dir: Directory `compressed_<compressor>` with its report.
        set_name: A set of the report.

    Returns:
        The languages, sorted by name.

    Raises:
        FileNotFoundError: A table or the report is not there.
        ValueError: The report has no such set, or tables do not fit each other.
    """
    report = read_json(ctc_report_path(compressed_dir))
    folder = Path(compressed_dir) / set_name
    texts, languages = read_table(folder / report["text_name"]), read_table(folder / "utt2lang")
    seconds = read_table(folder / "utt2dur")
    vectors = read_lengths(folder / "utt2num_frames", list(texts))
    found: dict[str, list[Utterance]] = {}
    for name, text in texts.items():
        if text and name in seconds:
            ratio = float(seconds[name]) / FRAME_SHIFT / vectors[name]
            found.setdefault(languages.get(name, ""), []).append(Utterance(len(text), vectors[name], ratio))
    per_language = report["sets"].get(set_name, {}).get("per_language", {})
    return [
        LanguageLengths(
            language,
            tuple(sorted(utterances, key=lambda each: each.characters)),
            per_language[language]["compression_ratio"],
        )
        for language, utterances in sorted(found.items())
        if language in per_language
    ]


def draw_lengths(languages: Sequence[LanguageLengths], title: str = "") -> Figure:
    """Draw vectors and ratio of utterances against the length of their text; each language has a line of medians.

    Args:
        languages: At least one.
        title: Of the figure.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = matplotlib.colormaps["tab10" if len(languages) <= 10 else "tab20"]
    for number, language in enumerate(languages):
        style: dict[str, Any] = {"color": colors(number % NUM_COLORS)}
        points = thin_out(language.utterances)
        characters = [each.characters for each in points]
        label = f"{language.name}: {language.ratio:.1f}"
        left.plot(characters, [each.vectors for each in points], ".", alpha=0.35, markersize=3, **style)
        right.plot(characters, [each.ratio for each in points], ".", alpha=0.35, markersize=3, **style)
        groups = group_by_length(language.utterances)
        middles = [median(each.characters for each in group) for group in groups]
        left.plot(middles, [median(each.vectors for each in group) for group in groups], label=label, **style)
        right.plot(middles, [median(each.ratio for each in group) for group in groups], **style)
    for axes, called in ((left, "vectors"), (right, "feature frames per vector")):
        axes.set_xlabel("characters of the text")
        axes.set_ylabel(called)
        axes.set_ylim(bottom=0)
    left.legend(title="feature frames per vector", fontsize=7, title_fontsize=7, ncols=1 + len(languages) // 9)
    figure.suptitle(title, fontsize=9)
    return figure


def thin_out(utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """Take at most MAX_POINTS utterances, evenly; the same ones each time."""
    step = max(1, -(-len(utterances) // MAX_POINTS))
    return utterances[::step]


def group_by_length(utterances: Sequence[Utterance]) -> list[Sequence[Utterance]]:
    """Cut utterances, in order of their length, into groups of about equal size."""
    number = min(NUM_GROUPS, len(utterances))
    bounds = [len(utterances) * place // number for place in range(number + 1)]
    return [utterances[first:last] for first, last in zip(bounds, bounds[1:], strict=False)]
