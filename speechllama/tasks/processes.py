"""This process among those that train together: its number, how many they are, and its random numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def rank() -> int:
    """This process's number in data-parallel training."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def num_processes() -> int:
    """Processes that share the batches."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def random_state() -> dict[str, Any]:
    """Where all generators of random numbers are."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": np.random.get_state(), "python": random.getstate()}


def set_random_state(state: dict[str, Any]) -> None:
    """Put all generators where they were."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
