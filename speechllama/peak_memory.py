"""The most memory that a piece of work has in use at once, on a GPU or on the CPU."""

from __future__ import annotations

import contextlib
import gc
import resource
from pathlib import Path

import torch


class PeakMemory:
    """The most memory in use at once since this was made, beyond what was in use then.

    Args:
        device: A GPU, or the CPU: then the resident memory of this process, pages of mapped files included.
    """

    def __init__(self, device: str | torch.device) -> None:
        self.is_gpu = torch.device(device).type == "cuda"
        self.what = torch.cuda.get_device_name(device) if self.is_gpu else "this process"
        gc.collect()
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):  # where it is not allowed, a higher peak of before hides a later one
                Path("/proc/self/clear_refs").write_text("5")  # Linux: the highest so far is what is in use now
        self.before = self.highest()

    def highest(self) -> int:
        """Bytes, with those that were in use before: of torch on a GPU, of the whole process on the CPU."""
        if self.is_gpu:
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status")
        if not status.is_file():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def peak(self) -> int:
        """Bytes beyond what was in use when this was made."""
        return self.highest() - self.before
