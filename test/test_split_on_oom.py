"""A batch that does not fit into memory is halved; what is another fault is raised."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from speechllama.split_on_oom import is_out_of_memory, split_on_oom


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("no memory of it"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_halves_give_what_the_whole_would_have_given() -> None:
    sizes = []

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 3:
            raise RuntimeError("CUDA error: out of memory")
        return [item**2 for item in items]

    assert dict(split_on_oom(work, range(10), str)) == {item: item**2 for item in range(10)}
    assert sizes == [10, 5, 2, 3, 5, 2, 3]


def test_one_that_does_not_fit_by_itself_is_described() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 7 in items:
            raise MemoryError
        return list(items)

    found = []
    with pytest.raises(ValueError, match="the item 7"):
        for item, _ in split_on_oom(work, [5, 6, 7, 8], lambda item: f"the item {item}"):
            found.append(item)
    assert found == [5, 6]


def test_another_fault_is_raised_as_it_is() -> None:
    def work(items: Sequence[int]) -> list[int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(split_on_oom(work, [1, 2], str))
