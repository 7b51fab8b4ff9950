"""What torch holds of the GPUs' memory in this process. The driver's view of a GPU is `telemetry.gpu`'s."""

from __future__ import annotations

import sys
from typing import NamedTuple


class CudaMemory(NamedTuple):
    allocated_bytes: int
    """In tensors."""
    reserved_bytes: int
    """By torch's allocator, for tensors that are there and for the next ones."""


def cuda_memory() -> CudaMemory | None:
    """Of all GPUs of the process together; None while torch uses none. Takes tens of microseconds."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    return CudaMemory(
        sum([torch.cuda.memory_allocated(device) for device in devices]),
        sum([torch.cuda.memory_reserved(device) for device in devices]),
    )
