"""Which task an utterance is trained with, where a training mixes several: (seed, epoch, utterance) -> task.

Nothing else counts: not the order of batches, not the number of workers or processes, not where a training was stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from speechllama.config import from_mapping
from speechllama.faults import InputError
from speechllama.text.tasks import TASKS, Task

BITS = 53  # of a draw; a float holds as many


@dataclass(frozen=True)
class TaskConfig:
    """Settings of a task: the values of `task_conf` in a YAML.

    Attributes:
        shares: Of the tasks that training mixes, how much of the utterances each gets, 0 to 1, together 1; empty:
            equal ones.
    """

    shares: dict[str, float] = field(default_factory=dict)


def read_shares(conf: Mapping[str, Any], task: Task, where: str) -> dict[str, float]:
    """Read the shares of the tasks that a training mixes.

    Args:
        conf: The settings, as the YAML has them.
        task: What is trained.
        where: What they are called in messages.

    Returns:
        Share by task; {} for a task that mixes none.

    Raises:
        ValueError: A key is unknown, the task mixes none, or the shares are not those of its parts or not 1 together.
    """
    shares = from_mapping(TaskConfig, conf, where).shares
    mixed = [part.name for part in task.prompted]
    if len(mixed) == 1:
        if shares:
            mixing = ", ".join(name for name, other in TASKS.items() if len(other.prompted) > 1)
            raise InputError(f"{where}: shares {shares}: the task {task.name} mixes no others; {mixing} does")
        return {}
    if not shares:
        return dict.fromkeys(mixed, 1 / len(mixed))
    values = [shares.get(name) for name in mixed]
    numbers = [float(value) for value in values if isinstance(value, int | float) and 0 <= value <= 1]
    if set(shares) != set(mixed) or len(numbers) != len(mixed) or abs(sum(numbers) - 1) > 1e-6:
        raise InputError(f"{where}: shares {shares}: expected a share of each of {', '.join(mixed)}, together 1")
    return dict(zip(mixed, numbers, strict=True))


def draw(*key: object) -> float:
    """Draw a number from 0 to below 1 that depends on the key only."""
    content = hashlib.blake2b(" ".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(content, "big") >> (64 - BITS)) / 2**BITS


class TaskMixture:
    """Chooses the task of each utterance, anew in each epoch.

    Args:
        task: What is trained.
        shares: Of the tasks that it mixes, from `read_shares`.
        seed: The same seed chooses the same.

    Attributes:
        epoch: The epoch, from 1; 0 is that of the validation, in which an utterance always has the same task.
    """

    def __init__(self, task: Task, shares: Mapping[str, float], seed: int) -> None:
        self.task, self.shares, self.seed, self.epoch = task, shares, seed, 0

    def choose(self, utterance: str) -> str:
        """Name the task of an utterance in this epoch."""
        if not self.shares:
            return self.task.name
        left = draw(self.seed, self.epoch, utterance)
        for name, share in self.shares.items():
            left -= share
            if left < 0:
                return name
        return list(self.shares)[-1]  # rounding
