"""Split a batch into halves until it fits into memory.

work, items -> a result of each item
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from speechllama.faults import InputError

# What torch says of the CPU's memory, and of a GPU's that CUDA's libraries or other processes have taken.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def split_on_oom(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], describe: Callable[[Item], str]
) -> Iterator[tuple[Item, Result]]:
    """Do the work on all items at once; if memory runs out, on each half separately.

    Args:
        work: Gives one result for each item.
        items: A batch.
        describe: The message for an item that does not fit even by itself: what it is and what to do.

    Yields:
        Each item with its result.

    Raises:
        ValueError: Not even one item fits; it is described.
    """
    try:
        results = work(items)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(items) == 1:
            raise InputError(describe(items[0])) from error
        results = None
    if results is not None:
        yield from zip(items, results, strict=True)
        return
    # Outside the except block: its traceback would keep the failed batch's tensors alive.
    logging.warning("out of memory with %d items, splitting the batch", len(items))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(items) // 2
    yield from split_on_oom(work, items[:middle], describe)
    yield from split_on_oom(work, items[middle:], describe)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the GPU's or the CPU's; of some of it, only the message of a RuntimeError tells."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in OUT_OF_MEMORY)
