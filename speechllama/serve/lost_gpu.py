"""Tell a GPU that this process has lost from other faults: an error of decoding -> whether the GPU is lost.

After an access to a wrong address, or a failed assertion on the device, every further call of the process to the GPU
fails. Only a new process can use it again.
"""

from __future__ import annotations

import torch

from speechllama.split_on_oom import is_out_of_memory

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", None)  # None: older releases raise a plain RuntimeError
PLAIN_MESSAGE = "CUDA error: "
OF_LIBRARIES = "CUDA error: CU"  # "CUBLAS_STATUS_EXECUTION_FAILED": a library refused one call, or the GPU is lost


def is_lost_gpu(error: Exception) -> bool:
    """Whether an error says that the GPU is lost, not merely full."""
    if is_out_of_memory(error):
        return False
    if ACCELERATOR_ERROR is not None:
        return isinstance(error, ACCELERATOR_ERROR)
    message = str(error)
    return isinstance(error, RuntimeError) and message.startswith(PLAIN_MESSAGE) and OF_LIBRARIES not in message
