"""A side of a benchmark in a process of its own: a command -> its first answer, then seconds of a step when asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence


class StepProcess:
    """One side's training steps in a process of its own, so that its peak memory is its own; it waits between them.

    Args:
        command: What starts it. It prints a line of JSON after its first step, and after each line that it reads one
            with the `seconds` of another step.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.read()

    def read(self) -> dict[str, float]:
        """What the process printed next.

        Raises:
            RuntimeError: It has ended.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, float] = json.loads(line)
                return answer
        raise RuntimeError(f"a training step failed: {self.process.args!r}")

    def seconds(self) -> float:
        """Let it make one step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.read()["seconds"]

    def __enter__(self) -> StepProcess:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
