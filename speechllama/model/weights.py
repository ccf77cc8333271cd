"""The trained weights of an experiment, or of a packed model, and arrays next to them.

folder with model.pth (experiment) or model.safetensors (packed) -> {name: tensor}
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechllama.faults import InputError

MODEL_FILE = "model.pth"  # averaged weights of an experiment, what decoding reads
PACKED_FILE = "model.safetensors"  # the same in a packed model: no pickle, so that it may come from anywhere


def weights_path(folder: str | Path) -> Path:
    """Name the file with the weights; model.pth where there is none."""
    packed = Path(folder) / PACKED_FILE
    return packed if packed.is_file() else Path(folder) / MODEL_FILE


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Read the weights onto the CPU; no code in a file runs.

    Raises:
        ValueError: The file is damaged, or holds anything but tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_path(folder)
    try:
        if path.name == PACKED_FILE:
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: damaged, or no weights of a model ({reason}); copy or train it again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path}: expected weights by name, found {type(state).__name__}; copy or train it again")
    return state


def read_arrays(path: str | Path, *names: str) -> list[Tensor]:
    """Read float32 arrays from an npz file; pickled objects in it are refused.

    Raises:
        ValueError: The file is damaged, lacks one of them, or holds anything but numbers.
    """
    try:
        with np.load(path) as file:
            return [torch.from_numpy(file[name].astype(np.float32)) for name in names]
    except (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: expected numbers under {', '.join(names)} ({error}); copy or make it again"
        ) from error


def write_weights(folder: str | Path, target: Path) -> None:
    """Write an experiment's weights as safetensors.

    Args:
        folder: The experiment.
        target: The file.
    """
    from safetensors.torch import save_file

    state = {name: tensor.contiguous().clone() for name, tensor in read_weights(folder).items()}
    save_file(state, target, metadata={"format": "pt"})
