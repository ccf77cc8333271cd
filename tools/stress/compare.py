"""Compare what two runs of a stage wrote: checkpoints, hypotheses, or any file by its kind, times left out."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

# Of JSON: what differs from run to run; `input` of a part and `stamp` of hypotheses hold times of their inputs.
PASSING_KEYS = ("seconds", "spent", "rtf", "peak_gb", "commit", "input", "stamp")


def compare_tensors(found: Any, expected: Any, where: str) -> list[str]:
    """Name what differs between two saved states: every tensor or array bit for bit, other values by ==."""
    if isinstance(expected, torch.Tensor):
        is_same = isinstance(found, torch.Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
        return [] if is_same else [where]
    if isinstance(expected, np.ndarray):
        is_same = isinstance(found, np.ndarray) and found.dtype == expected.dtype and np.array_equal(found, expected)
        return [] if is_same else [where]
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            return [f"{where}: other keys"]
        return [line for key in expected for line in compare_tensors(found[key], expected[key], f"{where}.{key}")]
    if isinstance(expected, (list, tuple)):
        if type(found) is not type(expected) or len(found) != len(expected):
            return [f"{where}: another length"]
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for index, (one, other) in pairs for line in compare_tensors(one, other, f"{where}[{index}]")]
    return [] if found == expected else [f"{where}: {found!r}, expected {expected!r}"]


def compare_training(found: Path, expected: Path) -> list[str]:
    """Compare the checkpoints of two experiments: weights of every epoch, optimizers and schedulers."""
    names = sorted(path.name for path in expected.glob("*.pth") if "previous" not in path.name)
    differing = [f"{name} is missing" for name in names if not (found / name).is_file()]
    for name in names if not differing else []:
        differing += compare_tensors(load_state(found / name), load_state(expected / name), name)
    return differing


def load_state(path: Path) -> Any:
    """Load what torch saved; of ESPnet's checkpoint without what differs from run to run, such as times."""
    state = torch.load(path, map_location="cpu", weights_only=False)
    kept = ("model", "optimizers", "schedulers")
    return {key: state[key] for key in kept} if path.name == "checkpoint.pth" else state


def compare_decoded(found: Path, expected: Path) -> list[str]:
    """Compare the hypotheses of two decoded experiments: texts, tokens and scores of every utterance."""
    differing = []
    folders = sorted(path.name for path in expected.glob("decode_*") if path.is_dir())
    for name in folders:
        one, other = (read_hypotheses(folder / name) for folder in (found, expected))
        differing += [f"{name}: {utt}" for utt in sorted(one.keys() | other.keys()) if one.get(utt) != other.get(utt)]
        texts = [folder / name / "text" for folder in (found, expected)]
        if not texts[0].is_file() or texts[0].read_bytes() != texts[1].read_bytes():
            differing.append(f"{name}/text")
    return differing if folders else [f"{expected}: nothing is decoded there"]


def read_hypotheses(folder: Path) -> dict[str, Any]:
    """N-best hypotheses by utterance, without the seconds that they took."""
    if not (folder / "nbest.jsonl").is_file():
        return {}
    records = [json.loads(line) for line in (folder / "nbest.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    return {record["utt"]: record["nbest"] for record in records}


def compare_files(found: Path, expected: Path) -> list[str]:
    """Name what differs between two files of one kind.

    States and arrays are compared bit for bit, JSON without times, a zip member by member, and all else by its bytes.
    """
    if expected.suffix in (".pth", ".pt"):
        return compare_tensors(load_state(found), load_state(expected), expected.name)
    return compare_contents(found.read_bytes(), expected.read_bytes(), expected.name)


def compare_contents(found: bytes, expected: bytes, name: str) -> list[str]:
    """Name what differs between the contents of two files of the same name, other than those of torch."""
    if name.endswith(".zip"):
        one, other = (read_zip(content) for content in (found, expected))
        if one.keys() != other.keys():
            return [f"{name}: other members"]
        return [line for key in other for line in compare_contents(one[key], other[key], f"{name}/{key}")]
    if name.endswith(".md"):  # has columns of times, and is written from JSON files, which are compared
        return [] if found.count(b"\n") == expected.count(b"\n") else [f"{name}: another number of lines"]
    one, other = (parse(content, name) for content in (found, expected))
    if isinstance(other, bytes):
        return [] if one == other else [f"{name}: other bytes"]
    return compare_tensors(one, other, name)


def parse(content: bytes, name: str) -> Any:
    """Read a file as values to compare: tensors, arrays, JSON without what differs from run to run, or its bytes."""
    if name.endswith(".safetensors"):
        return load(content)
    if name.endswith(".npz"):
        return dict(np.load(io.BytesIO(content)))
    if name.endswith(".jsonl"):
        return [without_times(json.loads(line)) for line in content.splitlines()]
    if name.endswith((".json", ".done")):
        return without_times(json.loads(content))
    return content


def without_times(value: Any) -> Any:
    """Leave out of JSON what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if not key.endswith(PASSING_KEYS)}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def read_zip(content: bytes) -> dict[str, bytes]:
    """Read the members of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
