"""The CTC units of a trained system, for what shows them: decoding itself needs no text of a unit.

settings of an experiment, or of a packed one -> bpe.model or units.json -> text of each unit
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechllama.constants import UNITS_FILE
from speechllama.files import find_path
from speechllama.model.build import read_settings
from speechllama.text.checkpoint_units import read_units


def find_units(settings: Mapping[str, Any]) -> Path | None:
    """Find the units that the CTC head of a system writes.

    Args:
        settings: Of the system, with its paths resolved: `tokenizer` of an encoder-decoder, else `ctc_dir`.

    Returns:
        The file; None where there is no CTC head, or its units are elsewhere, as with models packed by older versions.
    """
    named, folder = str(settings.get("tokenizer") or ""), Path(str(settings.get("ctc_dir") or ""))
    if not named and settings.get("ctc_dir") and folder.is_dir():
        value = str(read_settings(folder).get("tokenizer") or "")
        packed = folder / Path(value).name  # next to the encoder's config.yaml, where `unit_files` puts it
        named = str(packed) if packed.is_file() else find_path(value, folder)
    return Path(named) if named and Path(named).is_file() else None


def unit_files(settings: Mapping[str, Any]) -> list[Path]:
    """List the files of a system's units: those of a checkpoint have its tokenizer next to them."""
    path = find_units(settings)
    if path is None:
        return []
    return sorted(file for file in path.parent.iterdir() if file.is_file()) if path.name == UNITS_FILE else [path]


def read_unit_texts(settings: Mapping[str, Any]) -> list[str]:
    """Read the text of each unit of a system, of blank the first; none where they are unknown."""
    path = find_units(settings)
    return read_units(path).texts if path else []
