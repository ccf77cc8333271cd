"""The trained weights of an experiment, or of a packed model, and arrays next to them.

folder with model.pth (experiment) or model.safetensors (packed) -> {name: tensor}
"""

from __future__ import annotations

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
    """Read the weights of a folder onto the CPU; see `read_weight_file`."""
    return read_weight_file(weights_path(folder))


def read_weight_file(path: Path) -> dict[str, Tensor]:
    """Read weights onto the CPU, of a model or of an epoch; no code in a file runs.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or holds anything but tensors by name, or NaN or infinity.
    """
    from safetensors.torch import load_file

    try:
        is_packed = path.suffix == Path(PACKED_FILE).suffix
        state = load_file(path) if is_packed else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file fails in many ways: RuntimeError, EOFError, IndexError, UnpicklingError
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged, or no weights of a model ({reason}); copy or train it again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path}: expected weights by name, found {type(state).__name__}; copy or train it again")
    damaged = [str(name) for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise InputError(
            f"{path}: {len(damaged)} of {len(state)} tensors hold NaN or infinity, the first is {damaged[0]}; the file "
            "is damaged, or the training diverged: copy, average or train it again"
        )
    return state


def read_arrays(path: str | Path, *names: str) -> list[Tensor]:
    """Read float32 arrays from an npz file; pickled objects in it are refused.

    Raises:
        ValueError: The file is damaged, lacks one of them, or holds anything but finite numbers.
    """
    try:
        with np.load(path) as file:
            arrays = [torch.from_numpy(file[name].astype(np.float32)) for name in names]
    except Exception as error:  # a damaged zip fails in many ways: BadZipFile, EOFError, KeyError, zlib.error
        raise InputError(
            f"{path}: expected numbers under {', '.join(names)} ({error}); copy or make it again"
        ) from error
    if not all(torch.isfinite(array).all() for array in arrays):
        raise InputError(f"{path}: {', '.join(names)} hold NaN or infinity; copy or make it again")
    return arrays


def write_weights(folder: str | Path, target: Path) -> None:
    """Write an experiment's weights as safetensors.

    Args:
        folder: The experiment.
        target: The file.
    """
    from safetensors.torch import save_file

    state = {name: tensor.contiguous().clone() for name, tensor in read_weights(folder).items()}
    save_file(state, target, metadata={"format": "pt"})
