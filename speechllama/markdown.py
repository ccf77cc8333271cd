"""Markdown of the reports: tables, and signatures of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def format_signatures(signatures: Iterable[str]) -> str:
    """List signatures, each once, in the order they came."""
    return "".join(f"* `{signature}`\n" for signature in dict.fromkeys(signatures))
